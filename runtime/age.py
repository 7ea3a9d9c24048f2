"""An age that goes on growing between two looks, and while nobody can look. For gauges computed at each scrape."""

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Since:
    """How old something was, None for nothing, and when that was seen by `time.monotonic()`."""

    age_seconds: float | None
    seen_at: float

    def now(self) -> float:
        """The age in seconds, 0 for nothing."""
        return 0.0 if self.age_seconds is None else self.age_seconds + time.monotonic() - self.seen_at


NOTHING = Since(None, 0.0)
