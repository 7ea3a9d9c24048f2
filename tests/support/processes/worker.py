"""Workers as an operator starts them, `waybill worker POOL`, on a broker and a database of their own."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumers import topology
from orders.workflow import steps_of
from runtime.settings import Settings
from tests.support.paths import ROOT
from tests.support.probes.broker_queues import WAIT_SECONDS, Queues

_STOP_SECONDS = 30.0
# Of /proc/net/tcp: columns, and states.
_LOCAL, _REMOTE = 1, 2
_ESTABLISHED, _LISTENING = "01", "0A"


@dataclass
class Worker:
    """A worker's main process and what it has logged."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """Every line logged so far, as JSON; what is no JSON is under `event`."""
        return [_parsed(line) for line in self.log.read_text(errors="replace").splitlines()]

    def count(self, event: str) -> int:
        """How many lines say this."""
        return sum(event in str(line.get("event")) for line in self.lines())

    def wait_for_line(self, event: str, count: int = 1) -> None:
        """Return once so many lines say this."""
        self.wait_until(lambda: self.count(event) >= count, f"{count} x {event!r} in the log")

    def wait_until(self, true: Callable[[], bool], what: str) -> None:
        """Return once something is so; fail when it takes too long or the worker ends."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not true():
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
            assert self.process.poll() is None, f"the worker ended while waiting for {what}:\n{tail}"
            assert time.monotonic() < deadline, f"{what}: not within {WAIT_SECONDS} s\n{tail}"
            time.sleep(0.02)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(_STOP_SECONDS)

    def children(self) -> list[int]:
        """Process ids of the pool's children."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        found = [(task / "children").read_text().split() for task in tasks.iterdir()]
        return [int(pid) for pids in found for pid in pids]

    def child_connected_to(self, port: int) -> int | None:
        """The child with an open TCP connection to a port of this machine, if there is one."""
        inodes = _sockets(_REMOTE, port, _ESTABLISHED)
        return next((pid for pid in self.children() if _open_files(pid) & inodes), None)

    def listeners_to(self, port: int) -> set[int]:
        """The main process and its children, as far as each has the socket that listens to a port of this machine."""
        inodes = _sockets(_LOCAL, port, _LISTENING)
        return {pid for pid in (self.process.pid, *self.children()) if _open_files(pid) & inodes}


@contextmanager
def worker(
    pool: str, settings: Settings, folder: Path, entry: Sequence[str] = ("-m", "ops.cli"), **variables: str
) -> Iterator[Worker]:
    """A worker process; killed at the end if it still runs. `entry`: what Python runs in the command line's place."""
    log = folder / f"worker-{pool}-{time.monotonic_ns()}.log"
    environment = {**os.environ, **_environment(settings), **variables}
    with (
        log.open("ab") as output,
        subprocess.Popen(
            [sys.executable, *entry, "worker", pool], cwd=ROOT, env=environment, stdout=output, stderr=output
        ) as process,
    ):
        try:
            yield Worker(process, log)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_until_it_consumes(started: Worker, queues: Queues, pool: str) -> None:
    """Return once the worker takes messages from each of its pool's queues."""
    names = [step.queue for step in steps_of(pool)]
    started.wait_until(lambda: all(queues.consumers(name) for name in names), f"consumers of {names}")
    started.wait_for_line("ready.")


def apply_topology(settings: Settings) -> None:
    """Run `topology apply` in this process."""
    asyncio.run(topology.apply(settings))


def _environment(settings: Settings) -> dict[str, str]:
    values = settings.model_dump(exclude_defaults=True)
    return {name.upper(): str(value) for name, value in values.items()} | {"LOG_FORMAT": "json"}


def _parsed(line: str) -> dict[str, Any]:
    try:
        parsed = json.loads(line)
    except ValueError:
        return {"event": line}
    return parsed if isinstance(parsed, dict) else {"event": line}


def _sockets(column: int, port: int, state: str) -> set[str]:
    """Links of the TCP sockets with this port on one of their sides, as they stand in /proc/PID/fd."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[column].endswith(f":{port:04X}") and row[3] == state}


def _open_files(pid: int) -> set[str]:
    return {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
