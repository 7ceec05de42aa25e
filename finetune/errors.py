"""What goes wrong on purpose, as branches of the server's error tree.

NpcError
├── DataError     dialogue data is wrong (file:line: what, and what to do)
└── RunError      a training run cannot begin or go on
"""

from npcserver.errors import NpcError


class DataError(NpcError):
    """Dialogue data is wrong. The message holds one `file:line: what` a line."""

    code = "bad_data"


class RunError(NpcError):
    """A training run, or what came of one, cannot be used as asked."""

    code = "bad_run"
