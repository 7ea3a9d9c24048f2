"""The periodic chores of a worker's main process, on Celery's own loop: count, check the circuits, drop old timers.

The chores read what the children have reported (`consumers.worker.child_reports`), count it
(`consumers.worker.counters`) and hand it to the circuit (`consumers.worker.circuit`).
"""

import contextlib
import heapq
from typing import Any

from celery import bootsteps
from celery.worker import state
from celery.worker.state import active_requests

from consumers.worker.child_reports import DeliveryReport
from consumers.worker.counters import UPDATE_SECONDS
from runtime.logging import get_logger

TIMER_CLEANUP_SECONDS = 20.0

log = get_logger(__name__)


class Chores(bootsteps.StartStopStep):
    """Starts the chores at each connect and stops them when the connection is lost."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's consumer
        super().__init__(parent, **options)
        self._timers: list[Any] = []

    def start(self, parent: Any) -> None:  # noqa: ANN401
        """Called by Celery at each connect, when the queues are consumed from."""
        timer = parent.timer
        self._timers = [
            timer.call_repeatedly(UPDATE_SECONDS, update, (parent,)),
            timer.call_repeatedly(TIMER_CLEANUP_SECONDS, drop_cancelled, (timer,)),
        ]

    def stop(self, parent: Any) -> None:  # noqa: ANN401
        """Called by Celery when the connection is lost, and first of all at the end."""
        for timer in self._timers:
            timer.cancel()
        self._timers = []
        if state.should_stop is not None or state.should_terminate is not None:
            log.info("worker_stopping", running=len(active_requests))
            # The pool fires the timers while it waits for its children: what they end then is counted as it ends.
            parent.timer.call_repeatedly(UPDATE_SECONDS, count_beside_the_loop, (parent,))

    def shutdown(self, parent: Any) -> None:  # noqa: ANN401
        """Called by Celery last of all, when the pool has ended."""
        count(parent)


def update(consumer: Any) -> None:  # noqa: ANN401 - Celery's consumer
    """Count the children's reports, then hand them to the circuit. Runs on the loop that changes active_requests."""
    consumer.app.circuit.update(consumer, count(consumer))


def count(consumer: Any) -> list[DeliveryReport]:  # noqa: ANN401
    """Count the children's reports; the reports."""
    reports: list[DeliveryReport] = consumer.app.counters.update(tuple(active_requests))
    return reports


def count_beside_the_loop(consumer: Any) -> None:  # noqa: ANN401
    """Count on the pool's shutdown thread while the main thread removes finished requests from active_requests."""
    with contextlib.suppress(RuntimeError):  # it was changed while it was copied; the next call counts
        count(consumer)


def drop_cancelled(timer: Any) -> int:  # noqa: ANN401 - kombu's Timer
    """Take every cancelled entry out of the timer's heap, in place; how many there were.

    Celery arms a timer for each task's hard time limit and only marks it as cancelled when the task ends: it stays in
    the heap until it would have been due, twenty minutes later. At a hundred deliveries a second that is 120,000 of
    them, some 70 MB that look like a leak.
    """
    queue = timer._queue
    living = [scheduled for scheduled in queue if not scheduled.entry.canceled]
    dropped = len(queue) - len(living)
    if dropped:
        queue[:] = living
        heapq.heapify(queue)
    return dropped
