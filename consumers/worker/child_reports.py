"""The reports of a worker's children to its main process: one for each delivery, over a pipe made before the fork.

A report is a record of one size, far below PIPE_BUF, and a pipe takes so few bytes whole or not at all: there is no
lock that a killed child could leave behind, and a child that is killed before its report leaves no half of one. The
main process reads whole records, because it reads a multiple of their size at once.

A pipe that is full, because the main process has not read for long, loses the report: no delivery waits for a count. It
takes some 16,000 reports, more than a worker delivers in five seconds, and a child's next report says how many it has
lost. If a lost report was AWAY, the circuit opens only with the next one.
"""

import contextlib
import fcntl
import math
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from consumers.delivery.result import DeliveryResult
from orders.events import EVENT_TYPES
from orders.workflow import STEPS, Step
from outbox.envelope import EnvelopeError, Event, id_time

_RESULTS = tuple(DeliveryResult)
_EVENT_TYPES = tuple(EVENT_TYPES)
# Step, result and event type by their index in their lists, lost reports, seconds of the delivery, seconds since the
# order's acceptance, task id: 64 bytes, so that a page of the pipe holds a whole number of them.
_RECORD = struct.Struct("BBBxIdd36s4x")
_READ_BYTES = _RECORD.size * 1024
_PIPE_BYTES = 1_048_576  # the limit of an unprivileged process on Linux; the default is a sixteenth


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """The result of a delivery, and its duration in seconds.

    `effect_seconds`: from the order's acceptance to the effect; NaN without an effect, or without an order's id.
    `lost`: reports of the same child that the pipe did not take since its last one.
    """

    task: str
    step: Step
    result: DeliveryResult
    event_type: str
    seconds: float
    effect_seconds: float = math.nan
    lost: int = 0

    @classmethod
    def of(cls, task: str, step: Step, event: Event, result: DeliveryResult, seconds: float) -> Self:
        """The report of a delivery that has ended just now."""
        effect = accepted_ago(event) if result is DeliveryResult.DONE else math.nan
        return cls(task, step, result, event.type, seconds, effect)


class ReportPipe:
    """Both ends of the pipe; children write, the main process reads."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._lost = 0
        # An administrator may allow less, and only Linux has the call: then the size stays as it is.
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(self._write, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def send(self, report: DeliveryReport) -> None:
        """Called in a child at the end of a delivery."""
        record = _RECORD.pack(
            STEPS.index(report.step),
            _RESULTS.index(report.result),
            _EVENT_TYPES.index(report.event_type),
            self._lost,
            report.seconds,
            report.effect_seconds,
            report.task.encode(),
        )
        try:
            os.write(self._write, record)
        except BlockingIOError:
            self._lost += 1
        else:
            self._lost = 0

    def receive(self) -> Iterator[DeliveryReport]:
        """Called in the main process: all reports since the last call."""
        with contextlib.suppress(BlockingIOError):
            while records := os.read(self._read, _READ_BYTES):
                for step, result, event_type, lost, seconds, effect_seconds, task in _RECORD.iter_unpack(records):
                    yield DeliveryReport(
                        task.decode(),
                        STEPS[step],
                        _RESULTS[result],
                        _EVENT_TYPES[event_type],
                        seconds,
                        effect_seconds,
                        lost,
                    )

    def close(self) -> None:
        """Close both ends."""
        os.close(self._read)
        os.close(self._write)


def accepted_ago(event: Event) -> float:
    """Seconds since the acceptance of the event's order, whose id contains its time; NaN for an id without one.

    Two clocks are compared, the API's and this machine's: never negative.
    """
    try:
        accepted_at = id_time(UUID(event.subject))
    except (ValueError, EnvelopeError):
        return math.nan
    return max(0.0, time.time() - accepted_at.timestamp())
