"""The tokens of a reply → text that may go out. Knows no engine and no prompts."""

import codecs
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from npcserver.engines.thinking import Thinking


class Vocabulary(Protocol):
    """What each token stands for."""

    @property
    def special_ids(self) -> Iterable[int]:
        """Tokens that are never text."""

    def token_bytes(self, token: int) -> bytes:
        """A token's bytes; a character may be spread over several tokens."""


class Speech:
    """A reply as it grows: whole code points, no thoughts, and nothing after a stop string."""

    def __init__(self, vocabulary: Vocabulary, stop: Sequence[str]) -> None:
        self._vocabulary = vocabulary
        self._silent = frozenset(vocabulary.special_ids)
        self._stop = stop
        self._held = ""
        self._thinking = Thinking()
        self._decoder: Any = codecs.getincrementaldecoder("utf-8")("replace")
        self.stopped = False
        self.tokens = 0

    def feed(self, tokens: Iterable[int]) -> str:
        """Take in tokens; return the text that cannot be the beginning of a stop string."""
        for token in tokens:
            self.tokens += 1
            if token not in self._silent:
                text = self._decoder.decode(self._vocabulary.token_bytes(token))
                self._held += self._thinking.feed(text)
        if (cut := self._stop_at()) is not None:
            self.stopped = True
            text, self._held = self._held[:cut], ""
            return text
        return self._release(len(self._held) - self._undecided())

    def end(self) -> str:
        """No more tokens will come; return the rest, less a character that was cut in two."""
        self._held += self._thinking.finish()
        return self._release(len(self._held))

    def _stop_at(self) -> int | None:
        found = [at for at in (self._held.find(stop) for stop in self._stop) if at >= 0]
        return min(found, default=None)

    def _undecided(self) -> int:
        """How much at the end may yet become a stop string."""
        sizes = (
            size
            for stop in self._stop
            for size in range(1, len(stop))
            if self._held.endswith(stop[:size])
        )
        return max(sizes, default=0)

    def _release(self, end: int) -> str:
        text, self._held = self._held[:end], self._held[end:]
        return text
