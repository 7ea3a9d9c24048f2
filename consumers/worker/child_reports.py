"""What a worker's children tell its main process: one word for each delivery, over a pipe made before the fork.

A word is a record of one size, far below PIPE_BUF, and a pipe takes so few bytes whole or not at all: there is no lock
that a killed child could leave behind, and a child that is killed before its word leaves no half of one. The main
process reads whole records, because what it reads at once is a multiple of their size.

A pipe that is full, because the main process has not looked for long, loses the word: no delivery waits for a count.
It takes some 16,000, more than a worker delivers in five seconds, and a child's next word says how many it has lost.
If a lost word was AWAY, the circuit opens only when the next child says it.
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

from consumers.delivery.outcome import Outcome
from orders.events import EVENT_TYPES
from orders.workflow import STEPS, Step
from outbox.envelope import EnvelopeError, Event, id_time

_OUTCOMES = tuple(Outcome)
_EVENT_TYPES = tuple(EVENT_TYPES)
# Step, outcome and event type by their place in their lists, lost words, seconds of the delivery, seconds since the
# order's acceptance, task id: 64 bytes, of which a page of the pipe holds a whole number.
_RECORD = struct.Struct("BBBxIdd36s4x")
_READ_BYTES = _RECORD.size * 1024
_PIPE_BYTES = 1_048_576  # what Linux grants everybody; its default is a sixteenth


@dataclass(frozen=True, slots=True)
class Word:
    """How a delivery ended, and after how many seconds.

    `effect_seconds`, from the order's acceptance to the effect; NaN when there is no effect, or no order to ask.
    `lost`: words of the same child that the pipe did not take since its last one.
    """

    task: str
    step: Step
    outcome: Outcome
    event_type: str
    seconds: float
    effect_seconds: float = math.nan
    lost: int = 0

    @classmethod
    def of(cls, task: str, step: Step, event: Event, outcome: Outcome, seconds: float) -> Self:
        """The word for a delivery that has ended just now."""
        effect = accepted_ago(event) if outcome is Outcome.DONE else math.nan
        return cls(task, step, outcome, event.type, seconds, effect)


class Reports:
    """Both ends of the pipe; children write, the main process reads."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._lost = 0
        # An administrator may allow less, and only Linux knows of it: then it stays as it is.
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(self._write, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def tell(self, word: Word) -> None:
        """In a child: how a delivery ended."""
        record = _RECORD.pack(
            STEPS.index(word.step),
            _OUTCOMES.index(word.outcome),
            _EVENT_TYPES.index(word.event_type),
            self._lost,
            word.seconds,
            word.effect_seconds,
            word.task.encode(),
        )
        try:
            os.write(self._write, record)
        except BlockingIOError:
            self._lost += 1
        else:
            self._lost = 0

    def told(self) -> Iterator[Word]:
        """In the main process: everything that was told since the last call."""
        with contextlib.suppress(BlockingIOError):
            while records := os.read(self._read, _READ_BYTES):
                for step, outcome, event_type, lost, seconds, effect_seconds, task in _RECORD.iter_unpack(records):
                    yield Word(
                        task.decode(),
                        STEPS[step],
                        _OUTCOMES[outcome],
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
    """Seconds since the acceptance of the event's order, whose id tells its time; NaN for an id that tells none.

    Two clocks are compared, the API's and this machine's: never negative.
    """
    try:
        accepted_at = id_time(UUID(event.subject))
    except (ValueError, EnvelopeError):
        return math.nan
    return max(0.0, time.time() - accepted_at.timestamp())
