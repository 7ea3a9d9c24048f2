"""What a worker's children tell its main process: one word for each delivery, over a pipe made before the fork.

A word is two bytes, step and outcome, and a pipe takes so few whole or not at all: there is no lock that a killed child
could leave behind. A pipe that is full, because the main process has not looked for long, loses the word. That costs a
count of one; if the word was AWAY, the circuit opens only when the next child says it.
"""

import contextlib
import os
from collections.abc import Iterator

from consumers.outcome import Outcome
from orders.workflow import STEPS, Step

_OUTCOMES = tuple(Outcome)
_READ_BYTES = 65_536  # a Linux pipe's size; even, so that no word is cut


class Reports:
    """Both ends of the pipe; children write, the main process reads."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def tell(self, step: Step, outcome: Outcome) -> None:
        """In a child: how a delivery ended."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, bytes((STEPS.index(step), _OUTCOMES.index(outcome))))

    def told(self) -> Iterator[tuple[Step, Outcome]]:
        """In the main process: everything that was told since the last call."""
        with contextlib.suppress(BlockingIOError):
            while words := os.read(self._read, _READ_BYTES):
                for step, outcome in zip(words[::2], words[1::2], strict=True):
                    yield STEPS[step], _OUTCOMES[outcome]

    def close(self) -> None:
        """Close both ends."""
        os.close(self._read)
        os.close(self._write)
