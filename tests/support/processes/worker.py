"""Workers as an operator starts them, `waybill worker POOL`, on a broker and a database of their own."""

import asyncio
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from consumers import topology
from orders.workflow import steps_of
from runtime.settings import Settings
from tests.support.probes.broker_queues import Queues
from tests.support.processes.program import RunningProgram, program

# Of /proc/net/tcp: columns, and states.
_LOCAL, _REMOTE = 1, 2
_ESTABLISHED, _LISTENING = "01", "0A"


class Worker(RunningProgram):
    """A worker's main process, with its children."""

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
    """A worker process, ended with the block. `entry` is what Python runs in place of the command line."""
    command = (*entry, "worker", pool)
    # By SIGTERM, because a worker's children would outlive its SIGKILL.
    with program(
        f"worker-{pool}", folder, command, {**_environment(settings), **variables}, end_by=signal.SIGTERM
    ) as started:
        yield Worker(started.process, started.log)


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
    return {name.upper(): str(value) for name, value in values.items()}


def _sockets(column: int, port: int, state: str) -> set[str]:
    """Links of the TCP sockets with this port on one of their sides, as they stand in /proc/PID/fd."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[column].endswith(f":{port:04X}") and row[3] == state}


def _open_files(pid: int) -> set[str]:
    return {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
