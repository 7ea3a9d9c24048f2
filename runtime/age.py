"""Ages that keep growing between two readings, and while no reading succeeds. For gauges computed at each scrape."""

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Age:
    """An age in seconds, None for nothing, and the time of its reading by `time.monotonic()`."""

    age_seconds: float | None
    seen_at: float

    def now(self) -> float:
        """The age now in seconds, 0 for nothing."""
        return 0.0 if self.age_seconds is None else self.age_seconds + time.monotonic() - self.seen_at


NO_AGE = Age(None, 0.0)
