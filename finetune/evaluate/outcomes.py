"""What came of a case, and the folder that keeps it, so that a killed run goes on where it was.

An outcome is written once, under a digest of everything it hangs on: who was asked, what, with
which seed. Asked again for the same, it is read instead of computed.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from finetune import folders
from npcserver.rehearsal import Heard

OUTCOME_VERSION = 2
"""Goes up when the same case would be measured otherwise."""
FOLDER = "cases"
Suite = str


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Line(_Value):
    """A line of a transcript.

    Args:
        note: emotion and action, where a character shows any.
        signs: what is wrong with it, in words.
    """

    who: str
    text: str
    note: str = ""
    signs: list[str] = []


class Outcome(_Value):
    """What came of one case.

    Args:
        cluster: what it belongs together with when intervals are drawn.
        talk: everything that was said.
        wanted: the reply that somebody wrote for the last line, where there is one.
        tallies: what it adds to the sums of each measure, by the measure's name.
        pairs: what was wanted and what came, for measures of labels.
        timing: what hangs on the machine: milliseconds and tokens.
    """

    suite: Suite
    case: str
    cluster: str
    scene: str
    npc: str
    talk: list[Line] = []
    wanted: str = ""
    tallies: dict[str, list[float]] = {}
    pairs: dict[str, list[tuple[str, str]]] = {}
    timing: dict[str, list[float]] = {}


class Kept:
    """The outcomes in a folder."""

    def __init__(self, folder: Path, subject: str) -> None:
        """Args: subject: a digest of whoever is asked, and how."""
        self._folder = folder / FOLDER
        self._folder.mkdir(parents=True, exist_ok=True)
        self._subject = subject
        self.found = 0

    def get(self, key: Mapping[str, Any]) -> Outcome | None:
        """The outcome of a case, if it is there."""
        path = self._path(key)
        if not path.exists():
            return None
        self.found += 1
        return Outcome.model_validate_json(path.read_text(encoding="utf-8"))

    def put(self, key: Mapping[str, Any], outcome: Outcome) -> None:
        """Keep an outcome."""
        folders.write_text(self._path(key), outcome.model_dump_json(indent=1))

    def _path(self, key: Mapping[str, Any]) -> Path:
        whole = json.dumps([OUTCOME_VERSION, self._subject, key], sort_keys=True)
        return self._folder / f"{hashlib.sha256(whole.encode()).hexdigest()[:24]}.json"


def noted(heard: Heard) -> str:
    """What a character showed and did, in a few words."""
    return "; ".join(each for each in (heard.emotion, heard.action) if each not in ("", "none"))


def timed(heard: Heard) -> dict[str, list[float]]:
    """A turn's times."""
    return {
        "first_word_ms": [heard.first_word_ms],
        "total_ms": [heard.total_ms],
        "tokens": [heard.tokens],
    }
