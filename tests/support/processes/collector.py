"""The real collector as a process of its own, with the log it writes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.processes.relay import PATIENCE_SECONDS, RelayProcess


@contextmanager
def collector(database_url: str, amqp_url: str, folder: Path, **settings: object) -> Iterator[RelayProcess]:
    """`waybill collector` on these servers; `settings` are variables. Gone afterwards, whatever happened."""
    log = folder / f"collector-{time.monotonic_ns()}.log"
    given = {name.upper(): str(value) for name, value in settings.items()}
    environment = {**os.environ, **given, "DATABASE_URL": database_url, "AMQP_URL": amqp_url, "LOG_FORMAT": "json"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "collector"], cwd=ROOT, env=environment, stderr=output
        )
    try:
        yield RelayProcess(process, log)
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)
