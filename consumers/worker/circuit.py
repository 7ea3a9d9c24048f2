"""The circuit between a worker and the outside world: open while the other side is away.

A child whose delivery failed asks whether the other side is there at all (`OutsideStep.away`), hands the delivery back
if not, and says so. The main process then cancels its consumer of that queue: the queue backs up in the broker, where
nothing is lost, no try is spent and no other queue notices. It probes with a call of its own, never with an order, and
consumes again when the other side is back.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from consumers.delivery.outcome import Outcome
from consumers.worker import metrics
from consumers.worker.child_reports import Word
from runtime.logging import get_logger

PROBE_SECONDS = 2.0  # from the end of one probe to the next

log = get_logger(__name__)


class Pausable(Protocol):
    """A consumer of queues: consumers.worker.intake.EventConsumer."""

    def pause(self, queue: str) -> None:
        """Take nothing more from a queue."""

    def resume(self, queue: str) -> None:
        """Take from it again."""


class Circuit:
    """One worker's, in its main process. `probes`: whether the other side is back, by the queue that needs it."""

    def __init__(self, probes: Mapping[str, Callable[[], bool]]) -> None:
        self._probes = probes
        self._probe_at: dict[str, float] = {}
        for queue in probes:
            metrics.CIRCUIT_OPEN.labels(queue).set(0)

    def look(self, consumer: Pausable, words: Iterable[Word]) -> None:
        """Open and close the circuits by what the children told. Called often, on the consumer's own loop."""
        for word in words:
            if word.outcome is Outcome.AWAY and word.step.queue not in self._probe_at:
                self._open(consumer, word.step.queue)
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
        # This holds up the worker's loop for as long as a probe may take: it has nothing else to do meanwhile.
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
