"""What a model thinks aloud is not said: it is taken out of the stream. Knows no engine."""

OPEN, CLOSE = "<think>", "</think>"


class Thinking:
    """Holds back the thought that a reply may begin with, and passes on everything after it."""

    def __init__(self) -> None:
        self._held = ""
        self._over = False
        self.inside = False

    def feed(self, text: str) -> str:
        """The text that is said, of what came; the tags may be cut anywhere."""
        if self._over:
            return text
        self._held += text
        if not self.inside:
            begun = self._held.lstrip()
            if not begun.startswith(OPEN):
                return "" if OPEN.startswith(begun) else self._rest()
            self.inside, self._held = True, begun.removeprefix(OPEN)
        return self._after_thought()

    def finish(self) -> str:
        """The text still held when the stream ends; an unfinished thought is never said."""
        return "" if self.inside else self._rest()

    def _after_thought(self) -> str:
        thought, closed, said = self._held.partition(CLOSE)
        if not closed:
            self._held = thought[-len(CLOSE) + 1 :]  # it may end in a part of the closing tag
            return ""
        # Models put an empty line between a thought and the reply.
        self._held = said.lstrip()
        if self._held:
            self.inside = False
            return self._rest()
        self._held = CLOSE
        return ""

    def _rest(self) -> str:
        self._over = True
        held, self._held = self._held, ""
        return held
