"""The SAP and SMTP sandboxes as real processes, each on free ports, ended with the `with` that started it."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.deadlines import ANSWER_SECONDS
from tests.support.paths import ROOT

_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox process and its HTTP view."""

    url: str
    process: subprocess.Popen[str]

    def get(self, path: str) -> Any:
        # Plain HTTP; loading authorities takes 30 ms.
        response = httpx.get(self.url + path, verify=False, timeout=ANSWER_SECONDS)
        response.raise_for_status()
        return response.json()

    def put(self, path: str, body: object) -> Any:
        response = httpx.put(self.url + path, json=body, verify=False, timeout=ANSWER_SECONDS)
        response.raise_for_status()
        return response.json()

    def kill(self) -> None:
        """SIGKILL, as the machine's out-of-memory killer does it."""
        self.process.kill()
        self.process.wait(_STOP_SECONDS)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(_STOP_SECONDS)


@dataclass(frozen=True)
class Sap(Sandbox):
    """The SAP sandbox; user and password are `waybill`."""

    ledger_file: Path

    def ledger(self) -> Any:
        """`documents`, `orders`, `faults`, `posts`, …: see lab/sandbox/sap/view.py."""
        return self.get("/sandbox/ledger")

    def order(self, order_number: str) -> Any:
        """`documents` (their numbers), `net_total` and `posts` of one order number."""
        return self.ledger()["orders"].get(order_number, {"documents": [], "net_total": "0", "posts": 0})

    def faults(self, **changes: object) -> None:
        """Turn knobs: error_rate, lost_rate, timeout_rate, late_rate, late_seconds, outage, …"""
        self.put("/sandbox/faults", changes)

    def wait_for(self, counter: str, count: int, seconds: float = 20.0) -> Any:
        """The ledger once `counter` (document_count, posts, faults_injected, …) is at least `count`."""
        deadline = time.monotonic() + seconds
        while (ledger := self.ledger())[counter] < count:
            assert time.monotonic() < deadline, f"{counter} {count} wanted, {ledger[counter]} there"
            time.sleep(0.01)
        return ledger


@dataclass(frozen=True)
class Smtp(Sandbox):
    """The SMTP inbox; mail goes to 127.0.0.1:`port`."""

    port: int
    folder: Path

    def messages(self) -> Any:
        """Oldest first: number, message_id, from, to (list), subject, date, file."""
        return self.get("/messages")

    def messages_to(self, address: str) -> Any:
        """Those among them for one recipient."""
        return [message for message in self.messages() if address in message["to"]]

    def refuse(self, *refusals: tuple[str, int]) -> None:
        """Answer recipients that match the shell pattern with 451 or 550; none lifts all."""
        self.put("/refusals", [{"pattern": pattern, "code": code} for pattern, code in refusals])


@contextmanager
def start_sap(folder: Path, *, port: int = 0, ledger_file: Path | None = None, **flags: object) -> Iterator[Sap]:
    """The SAP sandbox with its ledger below `folder`; flags as in `lab.sandbox.sap.main.run`; quick by default."""
    ledger = ledger_file or folder / "sap-ledger.jsonl"
    options = {"port": port, "ledger": ledger, "latency_ms": "0-1"} | flags
    with _running("lab.sandbox.sap.main", folder / "sap.log", options) as (process, addresses):
        yield Sap(addresses["http"], process, ledger)


@contextmanager
def start_smtp(folder: Path, *, port: int = 0, http_port: int = 0) -> Iterator[Smtp]:
    """The SMTP inbox with its messages below `folder`."""
    inbox = folder / "inbox"
    options: dict[str, object] = {"port": port, "http_port": http_port, "inbox": inbox}
    with _running("lab.sandbox.mail.main", folder / "smtp.log", options) as (process, addresses):
        smtp_port = int(addresses["smtp"].rpartition(":")[2])
        yield Smtp(addresses["http"], process, smtp_port, inbox)


@contextmanager
def _running(
    module: str, log: Path, options: dict[str, object]
) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", module, *arguments]
    with (
        log.open("a") as errors,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            announced = process.stdout.readline()
            assert announced, f"{module} did not start: {log.read_text()}"
            yield process, json.loads(announced)
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
