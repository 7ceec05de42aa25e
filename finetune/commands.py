"""What all commands share: how errors end, and what is shown while one waits."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from npcserver.commands import REFUSED
from npcserver.errors import NpcError


@contextmanager
def friendly() -> Iterator[None]:
    """Print an error as a sentence instead of a traceback."""
    try:
        yield
    except NpcError as error:
        print(f"finetune: {error.message}", file=sys.stderr)
        raise typer.Exit(REFUSED) from None
    except ModuleNotFoundError as error:
        told = f"needs the package {error.name}; install it with: pip install 'npcserver[finetune]'"
        print(f"finetune: {told}", file=sys.stderr)
        raise typer.Exit(REFUSED) from None


@contextmanager
def spinner() -> Iterator[Any]:
    """A line on stderr that says what is being done, and how far it is."""
    from rich.console import Console  # noqa: PLC0415 - not for --help

    with Console(stderr=True).status("beginning") as status:
        yield lambda step, done: status.update(f"{step}: {done}".rstrip(": "))
