"""The counters of a worker, kept in its main process from the children's reports.

A killed child loses the report of the one delivery that it ran; that delivery comes again and is counted then. So every
done delivery is counted once, with two exceptions. A child that is killed in the instants between the commit and its
report has done a delivery that is not counted as done, and the redelivery counts as a duplicate. And the counts since
the last scrape, and reports not yet read, end with a main process. One that is stopped keeps reading until its children
have ended (`consumers.worker.chores`), and is scraped for as long; one that is killed does neither.

The running deliveries are Celery's own list of active requests, from which it removes also those of a dead child.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from consumers.delivery.result import ATTEMPTED, DeliveryResult
from consumers.worker import metrics
from consumers.worker.busy_time import BusySeconds
from consumers.worker.child_reports import DeliveryReport, ReportPipe
from orders.workflow import steps_of

UPDATE_SECONDS = 0.2


class Request(Protocol):
    """A running delivery, as Celery knows it: celery.worker.request.Request. `name` is its step's."""

    id: str
    name: str


class DeliveryCounters:
    """The counters of one worker with this many `children`. Its series exist from here on, at zero, and no others."""

    def __init__(self, reports: ReportPipe, pool: str, children: int) -> None:
        self._reports = reports
        self._steps = steps_of(pool)
        self._busy = BusySeconds()
        self._busy_seconds = metrics.BUSY_SECONDS.labels(pool)
        self._reports_lost = metrics.REPORTS_LOST.labels(pool)
        metrics.CHILDREN.labels(pool).set(children)
        metrics.CHILDREN_LOST.labels(pool)
        for step in self._steps:
            metrics.STEP_SECONDS.labels(step.name)
            metrics.RUNNING.labels(step.name)
            for result in DeliveryResult:
                metrics.DELIVERIES.labels(step.name, result.value)
            for event_type in step.listens_to:
                metrics.COMMIT_TO_EFFECT.labels(step.name, event_type)

    def update(self, active: Iterable[Request]) -> list[DeliveryReport]:
        """Count the reports since the last update and the active requests; the reports, for the circuit."""
        reports = list(self._reports.receive())
        for report in reports:
            self._count(report)
        running = [(request.id, request.name) for request in active]
        ended = [(report.task, report.seconds) for report in reports]
        self._busy_seconds.inc(self._busy.since_last_update(time.monotonic(), ended, [task for task, _ in running]))
        by_step = Counter(name for _, name in running)
        for step in self._steps:
            metrics.RUNNING.labels(step.name).set(by_step[step.name])
        return reports

    def _count(self, report: DeliveryReport) -> None:
        step = report.step.name
        metrics.DELIVERIES.labels(step, report.result.value).inc()
        self._reports_lost.inc(report.lost)
        if report.result in ATTEMPTED:
            metrics.STEP_SECONDS.labels(step).observe(report.seconds)
        if not math.isnan(report.effect_seconds):
            metrics.COMMIT_TO_EFFECT.labels(step, report.event_type).observe(report.effect_seconds)
