"""The circuit breaker between a worker and the outside world: open while the other side is away.

       ┌────────────── closed ──────────────┐   a child reports AWAY: its failed attempt and its probe
       │  consumes the queue                │   (`StepKind.is_away`) found the other side away, and the
       └───────────────┬────────────────────┘   delivery is scheduled again without counting as an attempt
           AWAY report │        ▲ a probe succeeds
                       ▼        │
       ┌────────────── open ────┴───────────┐   consumer cancelled: the queue backs up in the broker, where
       │  probes every PROBE_SECONDS        │   nothing is lost, no attempt is spent, and no other queue
       └────────────────────────────────────┘   is affected

The main process owns the circuit: it cancels its consumer of that queue, probes with a call of its own, never with an
order, and consumes again when the other side is back. `Circuit.update` is called by `consumers.worker.chores`.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Protocol

from consumers.delivery.result import DeliveryResult
from consumers.delivery.step_kinds import OutsideStep, StepKind
from consumers.worker import metrics
from consumers.worker.child_reports import DeliveryReport
from orders.workflow import Step
from runtime.logging import get_logger
from runtime.settings import Settings

PROBE_SECONDS = 2.0  # from the end of one probe to the next

log = get_logger(__name__)


class Pausable(Protocol):
    """A consumer of queues: consumers.worker.intake.EventConsumer."""

    def pause(self, queue: str) -> None:
        """Take nothing more from a queue."""

    def resume(self, queue: str) -> None:
        """Take from it again."""


class Circuit:
    """The circuits of one worker, one per queue. A probe returns whether the other side is back."""

    def __init__(self, probes: Mapping[str, Callable[[], bool]]) -> None:
        self._probes = probes
        self._probe_at: dict[str, float] = {}
        for queue in probes:
            metrics.CIRCUIT_OPEN.labels(queue).set(0)

    def update(self, consumer: Pausable, reports: Iterable[DeliveryReport]) -> None:
        """Open circuits by the children's reports and close them by probes. Called often, on the consumer's loop."""
        for report in reports:
            if report.result is DeliveryResult.AWAY and report.step.queue not in self._probe_at:
                self._open(consumer, report.step.queue)
        for queue, probe_at in list(self._probe_at.items()):
            if time.monotonic() >= probe_at:
                self._probe(consumer, queue)

    def _open(self, consumer: Pausable, queue: str) -> None:
        self._probe_at[queue] = time.monotonic() + PROBE_SECONDS
        metrics.CIRCUIT_OPEN.labels(queue).set(1)
        log.error("circuit_opened", queue=queue, probe_seconds=PROBE_SECONDS)
        # Raises if the broker has just gone. The queue is deselected by then: it is not consumed after the reconnect
        # either, until a probe resumes it.
        consumer.pause(queue)

    def _probe(self, consumer: Pausable, queue: str) -> None:
        # This blocks the worker's loop for as long as a probe may take: it has nothing else to do meanwhile.
        try:
            back = self._probes[queue]()
        finally:
            self._probe_at[queue] = time.monotonic() + PROBE_SECONDS
        if not back:
            return
        consumer.resume(queue)  # raises if the broker has just gone: then the next probe closes the circuit
        del self._probe_at[queue]
        metrics.CIRCUIT_OPEN.labels(queue).set(0)
        log.info("circuit_closed", queue=queue)


def probes_of(step_classes: Mapping[Step, type[StepKind]], settings: Settings) -> dict[str, Callable[[], bool]]:
    """For each queue whose step acts outside: a probe that returns whether the other side is back."""
    return {
        step.queue: partial(_is_back, step_class, settings)
        for step, step_class in step_classes.items()
        if issubclass(step_class, OutsideStep)
    }


def _is_back(step_class: type[StepKind], settings: Settings) -> bool:
    async def probe() -> bool:
        step = step_class.open(settings)
        try:
            return not await step.is_away()
        finally:
            await step.close()

    return asyncio.run(probe())
