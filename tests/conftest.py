"""What several test modules ask for."""

import os
from collections.abc import Iterator

import pytest

# What is played is what engines say; tests/test_answered.py is about what writers answered.
os.environ["NPCSERVER_WRITTEN_ANSWERS"] = "false"


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other gain nothing on models this small."""
    import torch  # noqa: PLC0415 - not for the modules that need it not

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
