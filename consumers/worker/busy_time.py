"""How many seconds the children of a worker have spent on deliveries. Pure.

Each ended delivery tells its seconds exactly. One that runs on is counted as it goes, from look to look, or a pool that
is full of long calls would look idle and then, all at once, more than full. When it ends its own word takes the place
of what was counted: the sum of both is exact for every delivery that has told how long it took.

A killed child tells nothing: what was counted for it stays, up to the look at which Celery has noticed its death.
The figure never goes down: where a delivery was counted a moment longer than it took, what comes next is held back for
as long.
"""

from collections.abc import Collection, Iterable


class BusySeconds:
    """One worker's. Deliveries are known by their task ids; times are `time.monotonic()`."""

    def __init__(self) -> None:
        self._looked_at = 0.0
        self._counted: dict[str, float] = {}  # for each that was running at the last look
        self._ended: set[str] = set()  # told, but Celery has not heard of their end yet
        self._owed = 0.0  # counted too much, zero or negative

    def since_last_look(self, now: float, told: Iterable[tuple[str, float]], running: Collection[str]) -> float:
        """Seconds that have come since the last look, never negative. `told`: task and seconds of what has ended."""
        grown = self._owed
        for task, seconds in told:
            grown += seconds - self._counted.pop(task, 0.0)
            self._ended.add(task)
        grown += self._count_on(now - self._looked_at, set(running))
        self._looked_at = now
        self._owed = min(0.0, grown)
        return max(0.0, grown)

    def _count_on(self, passed: float, running: set[str]) -> float:
        """Add what has passed to all that ran then and run now; one that is new begins at zero."""
        self._ended &= running
        going_on = self._counted.keys() & running
        self._counted = {
            task: self._counted[task] + passed if task in going_on else 0.0 for task in running - self._ended
        }
        return passed * len(going_on)
