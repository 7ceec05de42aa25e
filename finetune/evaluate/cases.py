"""What a suite is: cases that can be run one by one, in any order, and be kept."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.evaluate.outcomes import Outcome


@dataclass(frozen=True)
class Case:
    """One case.

    Args:
        key: everything it hangs on beside the subject; what is kept is found by it.
        run: plays it.
    """

    id: str
    key: Mapping[str, Any]
    run: Callable[[], Awaitable[Outcome]]


@dataclass(frozen=True)
class Suite:
    """Cases of one kind. Args: skipped: why there are none, where there are none."""

    name: str
    cases: Sequence[Case] = ()
    skipped: str = ""
