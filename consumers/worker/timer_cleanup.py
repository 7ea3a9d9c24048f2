"""Drops the timers of tasks that have ended from a worker's main process.

Celery arms a timer for each task's hard time limit and only marks it as cancelled when the task ends: it stays in the
heap until it would have been due, twenty minutes later. At a hundred deliveries a second that is 120,000 of them, some
70 MB that look like a leak.
"""

import heapq
from typing import Any

TIDY_SECONDS = 20.0


def drop_cancelled(timer: Any) -> int:  # noqa: ANN401 - kombu's Timer
    """Take every cancelled entry out of the timer's heap, in place; how many there were."""
    queue = timer._queue
    living = [scheduled for scheduled in queue if not scheduled.entry.canceled]
    dropped = len(queue) - len(living)
    if dropped:
        queue[:] = living
        heapq.heapify(queue)
    return dropped
