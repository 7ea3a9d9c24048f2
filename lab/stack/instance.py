"""An instance: one folder with all data, logs and ports of one running set of programs.

Every process of an instance has WAYBILL_INSTANCE=<folder> in its environment. By that variable `stop_processes` finds
the leftovers of a killed run, whatever their parent is by then. PostgreSQL overwrites its environment to set its title,
so its processes are recognized by their working folder, the data folder. No process is matched by its name alone, so
two checkouts, two instances and the machine's own servers do not disturb each other.
"""

import fcntl
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from lab.stack.errors import InstanceBusyError
from ops.errors import OpsError

MARK = "WAYBILL_INSTANCE"
TERM_SECONDS = 15.0
KILL_SECONDS = 5.0


class Instance:
    """A folder and the processes that belong to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    @property
    def mark(self) -> dict[str, str]:
        """The variable that marks each process of this instance."""
        return {MARK: str(self.folder)}

    @property
    def logs(self) -> Path:
        """The folder of the programs' logs."""
        return self.folder / "logs"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the instance for the block. Raises InstanceBusyError if another living process holds the lock.

        The kernel releases the lock when its holder dies, in whatever way.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.folder.parent / f"{self.folder.name}.lock"
        with lock.open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                holder = handle.read().strip() or "unknown"
                raise InstanceBusyError(
                    f"{self.folder} is in use by process {holder}; wait for it to end or stop it, then try again"
                ) from None
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            yield

    def processes(self) -> list[psutil.Process]:
        """All living processes of this instance, without the caller and its parents."""
        own = psutil.Process()
        spared = {own.pid, *(parent.pid for parent in own.parents())}
        return [process for process in psutil.process_iter() if process.pid not in spared and self._owns(process)]

    def _owns(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            if process.name() == "postgres":
                return Path(process.cwd()).is_relative_to(self.folder)
            return process.environ().get(MARK) == str(self.folder)
        except (psutil.Error, OSError):
            return False

    def stop_processes(self) -> int:
        """Stop all processes of this instance; returns how many there were.

        Only the topmost processes get the signal: supervisord, celery and the servers end their own children, in order.
        Processes that are left after TERM_SECONDS are killed. Raises OpsError if a process survives even that.
        """
        found = self.processes()
        if not found:
            return 0
        pids = {process.pid for process in found}
        for process in found:
            with suppress(psutil.Error):
                if process.ppid() not in pids:
                    # TERM would make PostgreSQL wait for its clients to leave; INT is its fast shutdown.
                    process.send_signal(signal.SIGINT if process.name() == "postgres" else signal.SIGTERM)
        if self._await_end(TERM_SECONDS, spare_epmd=True):
            self._kill()
        if survivors := self._await_end(KILL_SECONDS):
            raise OpsError(f"these processes of {self.folder} cannot be ended: {survivors}; end them by hand")
        return len(found)

    def _await_end(self, seconds: float, *, spare_epmd: bool = False) -> list[int]:
        """The pids that are left after `seconds`; returns earlier if none is left."""
        deadline = time.monotonic() + seconds
        while True:
            left = self.processes()
            if spare_epmd and left and all(_name(process) == "epmd" for process in left):
                return [process.pid for process in left]  # epmd would obey a signal, but no process stops it
            if not left or time.monotonic() > deadline:
                return [process.pid for process in left]
            time.sleep(0.05)

    def _kill(self) -> None:
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()

    def erase(self) -> None:
        """Delete the folder and its content. Call it only while no process runs."""
        if self.folder.exists():
            shutil.rmtree(self.folder)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""
