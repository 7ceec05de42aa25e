"""One streamed reply: what is said, how it ended, and what it took."""

from collections.abc import Sequence
from typing import Literal

from npcserver.engines.asking import MALFORMED
from npcserver.engines.base import Usage
from npcserver.engines.endpoint import Json
from npcserver.engines.pieces import SPECIAL, Stops, Whole
from npcserver.engines.thinking import Thinking
from npcserver.engines.writing import Form, usage
from npcserver.errors import EngineError


class Reply:
    """Takes a server's events, gives the words.

    Args:
        finish: as the server ended it; None while it has not.
    """

    def __init__(self, form: Form, stops: Sequence[str]) -> None:
        self.finish: Literal["stop", "length"] | None = None
        self._form = form
        self._whole = Whole()
        self._thinking = Thinking()
        self._stops = Stops(stops)
        self._pieces = 0
        self._usage: Usage | None = None

    @property
    def stopped(self) -> bool:
        """A stop string has come: what follows is not wanted."""
        return self._stops.stopped

    @property
    def only_thought(self) -> bool:
        """Nothing was said, since the thought did not end."""
        return self._thinking.inside

    @property
    def usage(self) -> Usage:
        """As the server told it; else the pieces are counted, and the prompt is not."""
        return self._usage or Usage(completion_tokens=self._pieces)

    def feed(self, event: Json) -> str:
        """What an event adds to the words. Raises EngineError when it has an unusual shape."""
        try:
            return self._feed(event)
        except MALFORMED as error:
            raise EngineError(f"the server's answer has an unusual shape: {error!r}") from None

    def _feed(self, event: Json) -> str:
        self._usage = usage(event) or self._usage
        listed = event.get("choices") or []  # the event that tells the usage has none
        if not listed:
            return ""
        if reason := listed[0].get("finish_reason"):
            self.finish = "length" if reason == "length" else "stop"
        text = SPECIAL.sub("", self._form.text(listed[0]))
        self._pieces += bool(text)
        return self._stops.feed(self._thinking.feed(self._whole.feed(text)))

    def end(self) -> tuple[str, Literal["stop", "length"]]:
        """The last words, and why there are no more.

        Raises:
            EngineError: it broke off, or nothing but a thought came.
        """
        if self.stopped:
            return "", "stop"
        if self.finish is None:
            raise EngineError("the server ended amid its answer")
        if self.only_thought:
            raise EngineError(
                "the model thought until its tokens were spent; raise reply_tokens, or serve a "
                "model that does not think"
            )
        rest = self._stops.feed(self._thinking.finish())
        return rest + self._stops.finish(), "stop" if self.stopped else self.finish
