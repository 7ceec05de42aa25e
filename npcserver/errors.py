"""Every error this project raises on purpose, in one tree.

    NpcError              code, message: what the wire and the terminal show
    ├── SceneError        a scene's files are wrong (file:line: field: what to do)
    ├── SettingError      a setting is wrong, and which
    ├── ModelError        a model cannot be had, or is not what it should be
    ├── EngineError       the engine failed a request, or died
    ├── Rejected          a client's message cannot be acted on
    └── Closed            a connection must end, with a close code

The message always says what was wrong and what to do about it.
"""


class NpcError(Exception):
    """An error with a code for programs and a sentence for people."""

    code = "error"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code


class SceneError(NpcError):
    """A scene's files are wrong. The message holds one `file:line: field: what to do` a line."""

    code = "bad_scene"


class SettingError(NpcError):
    """A setting is wrong; the message names it."""

    code = "bad_setting"


class ModelError(NpcError):
    """A model cannot be fetched, verified or loaded."""

    code = "bad_model"


class EngineError(NpcError):
    """The engine could not finish a request."""

    code = "engine_failed"


class Rejected(NpcError):
    """A client's message is understood but cannot be acted on; nothing happened."""

    code = "rejected"


class Closed(NpcError):
    """The connection must end.

    Args:
        close_code: a WebSocket close code, see docs/protocol.md.
    """

    code = "closed"

    def __init__(self, message: str, close_code: int, code: str) -> None:
        super().__init__(message, code)
        self.close_code = close_code
