"""From what a server streams to the pieces that are said: whole characters, up to a stop string."""

import re
from collections.abc import Sequence

SPECIAL = re.compile(
    r"<[|｜][^<>|｜\n]{1,40}[|｜]>|</?s>|<(?:bos|eos|pad|unk)>|<(?:start|end)_of_turn>|\[/?INST\]"
)
"""Special tokens as the usual families of models write them."""


class Whole:
    """Joins characters that were cut in two, and drops what is no character.

    A character beyond the basic plane may come as two halves, each escaped in a piece of its own.
    Some servers decode token by token and say U+FFFD for every part: of those nothing can be made.
    """

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        """The whole characters of what came."""
        text = self._half + text
        self._half = text[-1] if text and "\ud800" <= text[-1] <= "\udbff" else ""
        whole = text[: len(text) - len(self._half)]
        joined = whole.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return joined.replace("\ufffd", "")


class Stops:
    """Ends a text before the first of some strings, however its pieces are cut."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """What is certainly before any stop string."""
        if self.stopped:
            return ""
        self._held += text
        found = [at for at in map(self._held.find, self._stops) if at >= 0]
        self.stopped = bool(found)
        end = min(found) if found else len(self._held) - self._doubtful()
        said, self._held = self._held[:end], self._held[end:]
        return said

    def finish(self) -> str:
        """What was held back when no more comes."""
        return "" if self.stopped else self._held

    def _doubtful(self) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        beginnings = (stop[:size] for stop in self._stops for size in range(1, len(stop)))
        return max((len(part) for part in beginnings if self._held.endswith(part)), default=0)
