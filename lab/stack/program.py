"""A program of an instance: its command, its stop signal, and the check that it answers.

A `Program` runs in one of two ways: as a `Child` of the caller (the tests' servers), or as an entry in the process
table of `lab.stack.supervisor`.
"""

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals

from ops.errors import ServerError

# Variables for the user's own servers, which must not reach ours.
FOREIGN_PREFIXES = ("RABBITMQ_", "ERL_", "PG", "NOTIFY_SOCKET")
POLL_SECONDS = 0.05
LOG_TAIL_LINES = 15


def _answers_at_once() -> bool:
    return True


@dataclass(frozen=True)
class Program:
    """`environment` is added to the caller's cleaned environment; `log` receives stdout and stderr."""

    name: str
    command: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] = _answers_at_once
    ready_seconds: float = 60.0
    stop_signal: Signals = SIGTERM
    stop_seconds: float = 15.0


def clean_environment() -> dict[str, str]:
    """The caller's environment without the variables that configure PostgreSQL, Erlang or RabbitMQ.

    Python may write bytecode, so that a restarted process does not compile every module again.
    """
    unwanted = (*FOREIGN_PREFIXES, "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}


def log_tail(log: Path) -> str:
    """The last lines of a log, for an error message."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    shown = "\n  ".join(lines[-LOG_TAIL_LINES:])
    return f"{log} ends with:\n  {shown}" if shown else f"{log} is empty"


def wait_ready(program: Program, alive: Callable[[], bool]) -> None:
    """Return when the program answers.

    Raises ServerError, with the log's tail, if the program ended (`alive` is false) or exceeds `ready_seconds`.
    """
    deadline = time.monotonic() + program.ready_seconds
    while not program.ready():
        if not alive():
            raise ServerError(f"{program.name} ended while starting; {log_tail(program.log)}")
        if time.monotonic() > deadline:
            raise ServerError(
                f"{program.name} did not answer within {program.ready_seconds:g} s; {log_tail(program.log)}"
            )
        time.sleep(POLL_SECONDS)


class Child:
    """A program as a child process of the caller, in a session of its own, which Ctrl-C does not reach."""

    def __init__(self, program: Program, mark: Mapping[str, str]) -> None:
        self.program = program
        program.log.parent.mkdir(parents=True, exist_ok=True)
        with program.log.open("ab") as log:
            self._process = subprocess.Popen(
                program.command,
                env={**clean_environment(), **program.environment, **mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id of the server itself: each wrapper execs."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether the process still runs; reaps it when it does not."""
        return self._process.poll() is None

    def wait_ready(self) -> None:
        """Return when the program answers. Raises ServerError otherwise."""
        wait_ready(self.program, self.alive)

    def ask_to_stop(self) -> None:
        """Send the program's stop signal."""
        if self.alive():
            self._process.send_signal(self.program.stop_signal)

    def stop(self) -> bool:
        """Stop and reap the program; True if it ended within `stop_seconds`, False if it was killed."""
        self.ask_to_stop()
        try:
            self._process.wait(self.program.stop_seconds)
        except subprocess.TimeoutExpired:
            self._process.send_signal(SIGKILL)
            self._process.wait()
            return False
        return True
