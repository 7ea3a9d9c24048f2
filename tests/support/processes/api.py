"""The API as a process of its own, started as an operator starts it: `waybill api` on a free port."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from lab.stack.ports import free_port
from tests.support.processes.program import RunningProgram, program


@dataclass
class RunningApi(RunningProgram):
    """A process that answers at `url`."""

    port: int

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        """Whether it takes requests yet."""
        try:
            return httpx.get(f"{self.url}/healthz").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def api_process(database_url: str, folder: Path, stderr: IO[bytes] | None = None) -> Iterator[RunningApi]:
    """A running API whose log and documents are in `folder`; it logs to `stderr` if that is given."""
    port = free_port()
    variables = {
        "DATABASE_URL": database_url,
        "AMQP_URL": "amqp://guest:guest@127.0.0.1:1/",
        "API_PORT": port,
        "DOCUMENTS_DIR": folder,
    }
    with program("api", folder, ("-m", "ops.cli", "api"), variables, stderr) as started:
        running = RunningApi(started.process, started.log, port)
        running.wait_until(running.answers, "an answer of the API")
        yield running
