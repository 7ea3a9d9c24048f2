"""A RabbitMQ and a PostgreSQL that a test may starve, kill and start again; all other tests use the session's own.

Each starts at its first use and serves the session.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, SIGQUIT, Signals

import pytest

from lab.stack.instance import Instance
from lab.stack.program import Child, Program, clean_environment
from lab.stack.servers import rabbitmq
from lab.stack.servers.obtain import native_postgres, native_rabbitmq
from tests.support.fixtures.shared_database import empty
from tests.support.paths import SESSIONS
from tests.support.probes.database import run
from tests.support.servers import databases as real

GONE_SECONDS = 20
CTL_SECONDS = 60


class OwnServer:
    """One server at `url`, which stays the same when its process is replaced."""

    def __init__(self, url: str, program: Program, mark: dict[str, str]) -> None:
        self.url = url
        self._program = program
        self._mark = mark
        self._child = Child(program, mark)

    def start(self) -> None:
        """Start it again and wait until it answers."""
        self._child = Child(self._program, self._mark)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Return when it answers."""
        self._child.wait_ready()

    def end(self, by: Signals) -> None:
        """Send its process a signal that ends it, and wait until it is gone."""
        os.kill(self._child.pid, by)
        deadline = time.monotonic() + GONE_SECONDS
        while self._child.alive():
            assert time.monotonic() < deadline, f"{self._program.name} outlived {by.name} by {GONE_SECONDS} s"
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop it in good order."""
        self._child.stop()


class OwnPostgres(OwnServer):
    """A PostgreSQL that may crash."""

    @contextmanager
    def crashed(self) -> Iterator[None]:
        """Immediate shutdown: no checkpoint, every session is cut off. Afterwards it starts again, with recovery."""
        self.end(SIGQUIT)
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def in_recovery(self, data: Path) -> Iterator[None]:
        """It runs as a standby of its data folder; afterwards it takes writes again, promoted or not."""
        signal = data / "standby.signal"  # a promotion removes it
        self.stop()
        signal.touch()
        self.start()
        try:
            yield
        finally:
            if signal.exists():
                self.stop()
                signal.unlink()
                self.start()


class OwnRabbitMQ(OwnServer):
    """A RabbitMQ node that may run out of memory or disk, or be killed."""

    @contextmanager
    def dead(self) -> Iterator[None]:
        """The node is killed, and starts again afterwards."""
        self.end(SIGKILL)
        try:
            yield
        finally:
            self.start()

    def ctl(self, *command: str) -> None:
        """Run `rabbitmqctl` on this node."""
        sbin = rabbitmq.scripts()
        assert sbin is not None
        result = subprocess.run(
            [str(sbin / "rabbitmqctl"), *command],
            env={**clean_environment(), **self._program.environment, **self._mark},
            capture_output=True,
            text=True,
            check=False,
            timeout=CTL_SECONDS,
        )
        assert result.returncode == 0, f"rabbitmqctl {' '.join(command)}: {result.stdout}{result.stderr}"

    @contextmanager
    def out_of_memory(self) -> Iterator[None]:
        """The memory alarm is on, and off afterwards."""
        self.ctl("set_vm_memory_high_watermark", "0")
        try:
            yield
        finally:
            self.ctl("set_vm_memory_high_watermark", "0.4")

    @contextmanager
    def out_of_disk(self) -> Iterator[None]:
        """The disk alarm is on, and off afterwards."""
        self.ctl("set_disk_free_limit", "1000000000000000")
        try:
            yield
        finally:
            self.ctl("set_disk_free_limit", "256MB")

    @contextmanager
    def largest_message(self, size: int) -> Iterator[None]:
        """Channels opened from now on are closed by a message of more than `size` bytes."""
        self._set_largest(size)
        try:
            yield
        finally:
            self._set_largest(128 * 1024 * 1024)

    def _set_largest(self, size: int) -> None:
        self.ctl("eval", f"application:set_env(rabbit, max_message_size, {size}).")


@contextmanager
def _own_instance() -> Iterator[Instance]:
    with real.session_folder(SESSIONS) as folder:
        instance = Instance(folder)
        with instance.locked():
            try:
                yield instance
            finally:
                instance.stop_processes()  # epmd


@pytest.fixture(scope="session")
def own_rabbitmq() -> Iterator[OwnRabbitMQ]:
    """A RabbitMQ node of this session's own that tests may torment."""
    if rabbitmq.scripts() is None:
        pytest.skip(
            "RabbitMQ's own programs are not installed (lab/stack/bootstrap.sh --servers); containers are not tormented"
        )
    with _own_instance() as instance:
        server = OwnRabbitMQ(*native_rabbitmq(instance), instance.mark)
        try:
            server.wait_ready()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def own_postgres_server() -> Iterator[OwnPostgres]:
    """A PostgreSQL of this session's own that tests may torment, with all migrations."""
    with _own_instance() as instance:
        server = OwnPostgres(*native_postgres(instance), instance.mark)
        try:
            server.wait_ready()
            real.migrate(server.url)
            yield server
        finally:
            server.stop()


@pytest.fixture
def own_postgres(own_postgres_server: OwnPostgres) -> OwnPostgres:
    """That PostgreSQL, without any row."""
    run(lambda: empty(own_postgres_server.url))
    return own_postgres_server
