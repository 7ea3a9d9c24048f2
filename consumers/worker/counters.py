"""Counts, in a worker's main process, what its children tell.

A killed child takes with it what it had not told: the one delivery that it was at, which comes again and is counted
then. So every done delivery is counted once, with two exceptions. A child that is killed in the instants between the
commit and its word has done what nobody counts as done, and the delivery that comes again counts as a duplicate. And
what a main process has counted since its last scrape, or had not read yet, ends with it: told to stop, it looks until
its children have ended (`consumers.worker.intake.Chores`), and is scraped for as long; killed, it does neither.

What runs is Celery's own list of active requests, from which it takes also those of a child that it finds dead.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from consumers.delivery.outcome import TRIES, Outcome
from consumers.worker import metrics
from consumers.worker.busy_time import BusySeconds
from consumers.worker.child_reports import Reports, Word
from orders.workflow import steps_of

LOOK_SECONDS = 0.2


class Request(Protocol):
    """A delivery at work, as Celery knows it: celery.worker.request.Request. `name` is its step's."""

    id: str
    name: str


class Tally:
    """One worker's, whose pool has so many `children`. Its figures exist from here on, at zero, and no others."""

    def __init__(self, reports: Reports, pool: str, children: int) -> None:
        self._reports = reports
        self._steps = steps_of(pool)
        self._busy = BusySeconds()
        self._busy_seconds = metrics.BUSY_SECONDS.labels(pool)
        self._words_lost = metrics.WORDS_LOST.labels(pool)
        metrics.CHILDREN.labels(pool).set(children)
        metrics.CHILDREN_LOST.labels(pool)
        for step in self._steps:
            metrics.STEP_SECONDS.labels(step.name)
            metrics.RUNNING.labels(step.name)
            for outcome in Outcome:
                metrics.DELIVERIES.labels(step.name, outcome.value)
            for event_type in step.listens_to:
                metrics.COMMIT_TO_EFFECT.labels(step.name, event_type)

    def look(self, active: Iterable[Request]) -> list[Word]:
        """Count what was told since the last look and what is active now; the words, for whom they concern as well."""
        words = list(self._reports.told())
        for word in words:
            self._count(word)
        running = [(request.id, request.name) for request in active]
        told = [(word.task, word.seconds) for word in words]
        self._busy_seconds.inc(self._busy.since_last_look(time.monotonic(), told, [task for task, _ in running]))
        by_step = Counter(name for _, name in running)
        for step in self._steps:
            metrics.RUNNING.labels(step.name).set(by_step[step.name])
        return words

    def _count(self, word: Word) -> None:
        step = word.step.name
        metrics.DELIVERIES.labels(step, word.outcome.value).inc()
        self._words_lost.inc(word.lost)
        if word.outcome in TRIES:
            metrics.STEP_SECONDS.labels(step).observe(word.seconds)
        if not math.isnan(word.effect_seconds):
            metrics.COMMIT_TO_EFFECT.labels(step, word.event_type).observe(word.effect_seconds)
