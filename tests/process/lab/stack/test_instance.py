"""The leftovers of a killed run are found and ended; no other process is touched."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from lab.stack.errors import InstanceBusyError
from lab.stack.instance import MARK, Instance
from lab.stack.program import Child
from lab.stack.servers.obtain import native_postgres
from tests.support.deadlines import wait_until

DEAF = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
SLEEPER = "import time; print(1, flush=True); time.sleep(600)"


@contextmanager
def process(instance: Instance, code: str = SLEEPER) -> Iterator[subprocess.Popen[str]]:
    """A running process with the instance's mark."""
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **instance.mark},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    try:
        child.stdout.readline()
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_leftover_is_ended(tmp_path: Path) -> None:
    instance = Instance(tmp_path / "one")
    with process(instance) as leftover:
        assert instance.stop_processes() == 1
        assert leftover.wait() == -signal.SIGTERM


def test_another_instances_processes_keep_running(tmp_path: Path) -> None:
    with process(Instance(tmp_path / "other")) as other:
        assert Instance(tmp_path / "one").stop_processes() == 0
        assert other.poll() is None


def test_a_leftover_that_ignores_the_signal_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.stack.instance.TERM_SECONDS", 0.2)
    instance = Instance(tmp_path / "one")
    with process(instance, DEAF) as leftover:
        instance.stop_processes()
        assert leftover.wait() == -signal.SIGKILL


def test_an_instance_has_one_holder_at_a_time(tmp_path: Path) -> None:
    instance = Instance(tmp_path / "one")
    with (
        instance.locked(),
        pytest.raises(InstanceBusyError, match=str(os.getpid())),
        Instance(instance.folder).locked(),
    ):
        pass


def test_postgres_is_recognized_although_it_overwrites_its_environment(tmp_path: Path) -> None:
    instance = Instance(tmp_path / "one")
    _, program = native_postgres(instance)
    child = Child(program, instance.mark)
    try:
        child.wait_ready()
        backends = psutil.Process(child.pid).children()
        os.kill(child.pid, signal.SIGKILL)
        child.stop()
        instance.stop_processes()
        assert backends
        assert instance.processes() == []
        wait_until(lambda: not any(_alive(backend) for backend in backends))  # one that exits has no folder any more
    finally:
        child.stop()


def _alive(process: psutil.Process) -> bool:
    """Whether the process still runs: an ended one may be a zombie until its parent reaps it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_mark_is_the_absolute_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    assert Instance(Path("here")).mark == {MARK: str(tmp_path / "here")}
