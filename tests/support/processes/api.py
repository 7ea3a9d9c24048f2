"""The API as its own process, started as an operator starts it: `waybill api` on a free port."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from lab.stack.ports import free_port
from tests.support.paths import ROOT

_START_SECONDS = 30.0
_STOP_SECONDS = 20.0


@dataclass
class ApiProcess:
    """A process that answers at `url`."""

    url: str
    port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    def stop(self) -> int:
        """Ask it to stop as a service manager does; its exit code."""
        self.process.terminate()
        return self.process.wait(_STOP_SECONDS)


@contextmanager
def api_process(database_url: str, folder: Path, stderr: IO[bytes] | None = None) -> Iterator[ApiProcess]:
    """A running API whose log and documents are in `folder`; it logs to `stderr` if that is given."""
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "AMQP_URL": "amqp://guest:guest@127.0.0.1:1/",
        "API_PORT": str(port),
        "DOCUMENTS_DIR": str(folder),
        "LOG_FORMAT": "json",
    }
    log = folder / "api.log"
    with (
        log.open("ab") as output,
        subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "api"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=stderr or output,
        ) as process,
    ):
        try:
            running = ApiProcess(f"http://127.0.0.1:{port}", port, process, log)
            _wait_until_alive(running)
            yield running
        finally:
            process.kill()


def _wait_until_alive(api: ApiProcess) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        assert api.process.poll() is None, f"the API ended while starting:\n{api.log.read_text()}"
        try:
            assert httpx.get(f"{api.url}/healthz").status_code == 200
        except httpx.TransportError:
            assert time.monotonic() < deadline, f"the API did not answer:\n{api.log.read_text()}"
            time.sleep(0.05)
        else:
            return
