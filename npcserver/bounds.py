"""How often somebody may do something: a token bucket. Knows no clock but the one it is told."""

from dataclasses import dataclass, field


@dataclass
class Bucket:
    """Lets `rate` a second through on average, and `burst` at once.

    What is refused counts as debt, so that a flood can be told from somebody a little too fast.
    """

    rate: float
    burst: float
    level: float = field(init=False)
    debt: float = 0.0
    at: float | None = None

    def __post_init__(self) -> None:
        self.level = self.burst

    def take(self, now: float) -> bool:
        """Let one through, or refuse it."""
        if self.at is not None:
            gained = max(0.0, now - self.at) * self.rate
            self.level = min(self.burst, self.level + gained)
            self.debt = max(0.0, self.debt - gained)
        self.at = now
        if self.level >= 1:
            self.level -= 1
            return True
        self.debt += 1
        return False

    def wait_s(self) -> float:
        """Seconds until the next one is let through."""
        return max(0.0, 1 - self.level) / self.rate
