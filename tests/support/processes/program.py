"""A program of Waybill as a process of its own, with the log that it writes."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lab.stack.program import clean_environment
from tests.support.deadlines import ANSWER_SECONDS
from tests.support.paths import ROOT

STOP_SECONDS = 30


@dataclass
class RunningProgram:
    """One process. `log` is its standard error, one JSON object a line."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """Every whole line logged so far, as JSON; a line that is no JSON object is under `event`."""
        text = self.log.read_text(errors="replace")
        return [_parsed(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of this event."""
        return [line for line in self.lines() if line.get("event") == event]

    def count(self, text: str) -> int:
        """How many lines have this text in their event."""
        return sum(text in str(line.get("event")) for line in self.lines())

    def wait_for(self, event: str, count: int = 1) -> dict[str, Any]:
        """The `count`-th line of this event, once it is there."""
        self.wait_until(lambda: len(self.logged(event)) >= count, f"{event!r} number {count}")
        return self.logged(event)[count - 1]

    def wait_for_line(self, text: str, count: int = 1) -> None:
        """Return once so many lines have this text in their event."""
        self.wait_until(lambda: self.count(text) >= count, f"{count} x {text!r} in the log")

    def wait_until(self, reached: Callable[[], object], what: str) -> None:
        """Return once `reached()` is true; fail when that takes too long or the program ends."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while not reached():
            assert self.process.poll() is None, f"the program ended while waiting for {what}:\n{self._tail()}"
            assert time.monotonic() < deadline, f"{what}: not within {ANSWER_SECONDS} s:\n{self._tail()}"
            time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        self.process.kill()
        self.process.wait(ANSWER_SECONDS)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.send(signal.SIGTERM)
        return self.process.wait(ANSWER_SECONDS)

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


@contextmanager
def program(
    name: str,
    folder: Path,
    command: Sequence[str],
    variables: Mapping[str, object],
    stderr: IO[bytes] | None = None,
    end_by: signal.Signals = signal.SIGKILL,
) -> Iterator[RunningProgram]:
    """Python with these arguments, logging JSON to a file in `folder` or to `stderr`; ended with the block."""
    log = folder / f"{name}-{time.monotonic_ns()}.log"
    given = {key: str(value) for key, value in variables.items()}
    environment = {**clean_environment(), "LOG_FORMAT": "json", **given}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=environment, stdout=output, stderr=stderr or output
        )
    try:
        yield RunningProgram(process, log)
    finally:
        process.send_signal(end_by)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(ANSWER_SECONDS)


def _parsed(line: str) -> dict[str, Any]:
    try:
        parsed = json.loads(line)
    except ValueError:
        return {"event": line.rstrip("\n")}
    return parsed if isinstance(parsed, dict) else {"event": line.rstrip("\n")}
