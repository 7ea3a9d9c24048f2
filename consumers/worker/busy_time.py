"""The seconds that the children of a worker spend on deliveries. Pure.

The report of an ended delivery has its exact seconds. A running delivery is counted from update to update, or a pool
full of long calls would appear idle and then, all at once, more than full. When it ends, its report replaces what was
counted: the sum of both is exact for every reported delivery.

A killed child sends no report: its counted seconds stay, up to the update at which Celery has noticed its death. The
figure never goes down: where a delivery was counted a moment longer than it took, the next seconds are held back for as
long.
"""

from collections.abc import Collection, Iterable


class BusySeconds:
    """The seconds of one worker. Deliveries are known by their task ids; times are `time.monotonic()`."""

    def __init__(self) -> None:
        self._updated_at = 0.0
        self._counted: dict[str, float] = {}  # for each that was running at the last update
        self._ended: set[str] = set()  # reported, but Celery has not noticed their end yet
        self._owed = 0.0  # counted too much: zero or negative

    def since_last_update(self, now: float, ended: Iterable[tuple[str, float]], running: Collection[str]) -> float:
        """Seconds since the last update, never negative. `ended`: task and seconds of each reported delivery."""
        grown = self._owed
        for task, seconds in ended:
            grown += seconds - self._counted.pop(task, 0.0)
            self._ended.add(task)
        grown += self._count_on(now - self._updated_at, set(running))
        self._updated_at = now
        self._owed = min(0.0, grown)
        return max(0.0, grown)

    def _count_on(self, passed: float, running: set[str]) -> float:
        """Add the time passed to each delivery that ran then and runs now; a new one begins at zero."""
        self._ended &= running
        continuing = self._counted.keys() & running
        self._counted = {
            task: self._counted[task] + passed if task in continuing else 0.0 for task in running - self._ended
        }
        return passed * len(continuing)
