"""The real relay as a process of its own, with the log it writes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

PATIENCE_SECONDS = 40
# So long that no pause of the machine ends a reign. Who kills a leader and waits for the next gives it a shorter one.
LEASE_SECONDS = 10


@dataclass
class RelayProcess:
    """One `python -m relay`. `log` is its standard error, one JSON object a line."""

    process: subprocess.Popen[bytes]
    log: Path

    def logged(self, event: str) -> list[dict[str, Any]]:
        """What it has said under this name."""
        lines = [line for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        entries = [json.loads(line) for line in lines if line.startswith("{")]
        return [entry for entry in entries if entry["event"] == event]

    def wait_for(self, event: str, count: int = 1) -> dict[str, Any]:
        """The `count`-th entry of this name, once it is there."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(entries := self.logged(event)) < count:
            assert self.process.poll() is None, f"the relay ended early:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"no {event!r} number {count}:\n{self.log.read_text()}"
            time.sleep(0.01)
        return entries[count - 1]

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.send(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def relay(database_url: str, amqp_url: str, folder: Path, **settings: object) -> Iterator[RelayProcess]:
    """A relay on these servers; `settings` are RELAY_ variables. Gone afterwards, whatever happened."""
    log = folder / f"relay-{time.monotonic_ns()}.log"
    given = {f"RELAY_{name}".upper(): str(value) for name, value in settings.items()}
    environment = {
        **os.environ,
        "RELAY_LEASE_SECONDS": str(LEASE_SECONDS),
        **given,
        "DATABASE_URL": database_url,
        "AMQP_URL": amqp_url,
        "LOG_FORMAT": "json",
    }
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "relay"], cwd=ROOT, env=environment, stderr=output)
    try:
        yield RelayProcess(process, log)
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)
