"""What all commands of the command line share: how errors end, and how examples are shown."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import typer

from npcserver.errors import NpcError

FAILED = 1
REFUSED = 2


class EngineName(StrEnum):
    """What runs the model."""

    auto = "auto"
    openvino = "openvino"
    transformers = "transformers"
    remote = "remote"
    scripted = "scripted"


def examples(*lines: str) -> str:
    """An epilog of examples, one a line."""
    return "\n\n".join(["[bold]Examples[/bold]", *(f"  [cyan]{line}[/cyan]" for line in lines)])


@contextmanager
def friendly() -> Iterator[None]:
    """Print an error as a sentence instead of a traceback."""
    try:
        yield
    except NpcError as error:
        print(f"npcserver: {error.message}", file=sys.stderr)
        raise typer.Exit(REFUSED) from None
