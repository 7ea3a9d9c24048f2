"""docs/extending.md works as it is written: an order goes through a copy of the sources with the page's code.

The copy's system has a Prometheus that cannot start, and is ended by SIGTERM: both must leave the rest in order.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import amqp
import httpx
import pytest

from lab.stack.instance import Instance
from lab.stack.local import LocalStack
from lab.stack.program import clean_environment
from ops.doctor.broker_client import connection
from tests.support.deadlines import ANSWER_SECONDS
from tests.support.paths import ROOT
from tests.support.processes.running_system import order

PAGE = ROOT / "docs" / "extending.md"
COPIED = ("api", "consumers", "deploy", "lab", "migrations", "ops", "orders", "outbox", "relay", "runtime")
BLOCK = re.compile(
    r"^<!-- (file|insert|replace): (\S+)(?: (?:before|text): (.+?))? -->\n```python\n(.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
FINISHED_SECONDS = 120.0

SYSTEM = """
import asyncio, sys, time
from pathlib import Path
from lab.stack.local import LocalStack
from lab.stack.options import StackOptions
from lab.workload.seed import fill_empty_shelves
settings = {"WAREHOUSE_URL": sys.argv[2], "RETRY_BASE_SECONDS": "0.3"}
options = StackOptions(adapt_rules=lambda name, _: f"{name} is no configuration")
with LocalStack.fresh(Path(sys.argv[1]), settings, options=options) as stack:
    asyncio.run(fill_empty_shelves(stack.database_url))
    print(stack.api_url, stack.amqp_url, stack.prometheus_error, flush=True)
    time.sleep(600)
"""


@dataclass
class ExtendedSystem:
    """The copy's system, whose process holds it until a signal."""

    process: "subprocess.Popen[str]"
    instance: Instance
    api_url: str
    amqp_url: str
    prometheus_error: str


class Warehouse(ThreadingHTTPServer):
    """Answers requests as the page's warehouse does. It fails the first PUT, so that one is sent again."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.arrived = threading.Condition()

    def wait_for(self, event_type: str, count: int) -> list[tuple[str, dict[str, Any]]]:
        """The requests because of this event, as soon as there are `count`."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.because_of(event_type)) >= count, FINISHED_SECONDS)
            return self.because_of(event_type)

    def because_of(self, event_type: str) -> list[tuple[str, dict[str, Any]]]:
        """The requests so far because of this event, each with its path and body."""
        return [one for one in self.requests if one[1]["because"] == event_type]


class _Handler(BaseHTTPRequestHandler):
    server: Warehouse

    def do_GET(self) -> None:
        self._answer(200, {})

    def do_PUT(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.arrived:
            first = not self.server.requests
            self.server.requests.append((self.path, body))
            self.server.arrived.notify_all()
        self._answer(503 if first else 201, {"pick": f"P-{len(self.server.requests)}"})

    def _answer(self, status: int, body: dict[str, str]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Log nothing."""


@pytest.fixture(scope="module")
def warehouse() -> Iterator[Warehouse]:
    """A warehouse on a free port."""
    with Warehouse() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def apply_page(tree: Path) -> None:
    """Put each code block of the page where its comment says."""
    for what, file, anchor, code in BLOCK.findall(PAGE.read_text()):
        path = tree / file
        if what == "file":
            path.write_text(code)
            continue
        text = path.read_text()
        assert text.count(anchor) == 1, f"{anchor!r} is not once in {file}"
        if what == "replace":
            path.write_text(text.replace(anchor, code.rstrip("\n")))
        else:
            start = text.rindex("\n", 0, text.index(anchor)) + 1
            path.write_text(text[:start] + code + text[start:])


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory, warehouse: Warehouse) -> Iterator[ExtendedSystem]:
    """The extended system, on servers of its own."""
    tree = tmp_path_factory.mktemp("tree")
    for package in COPIED:
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "compose.yaml", tree)
    apply_page(tree)
    instance = Instance(tree / ".local" / "extended")
    command = [sys.executable, "-c", SYSTEM, str(instance.folder), f"http://127.0.0.1:{warehouse.server_port}"]
    environment = {
        name: value for name, value in clean_environment().items() if name not in {"DATABASE_URL", "AMQP_URL"}
    }
    with subprocess.Popen(command, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            started = process.stdout.readline().strip()
            assert started, f"the system did not start; its error is above, its logs are in {instance.logs}"
            api_url, amqp_url, error = started.split(" ", 2)
            yield ExtendedSystem(process, instance, api_url, amqp_url, error)
        finally:
            process.terminate()
            try:
                process.wait(FINISHED_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def settled(order_id: str) -> amqp.Message:
    """The other service's event, always the same one."""
    attributes = {
        "specversion": "1.0",
        "id": "settlement 4711",
        "source": "urn:example:billing",
        "type": "payment.settled",
        "time": "2026-03-01T12:00:00Z",
    }
    headers = {f"cloudEvents:{name}": value for name, value in attributes.items()}
    body = json.dumps({"reference_id": order_id, "paid": "in full"})
    return amqp.Message(body, content_type="application/json", application_headers=headers, delivery_mode=2)


def test_the_pages_step_takes_part_in_an_order_and_listens_to_the_other_service(
    extended: ExtendedSystem, warehouse: Warehouse
) -> None:
    placed = httpx.post(f"{extended.api_url}/orders", json=order("EXT-1"), timeout=ANSWER_SECONDS)
    assert placed.status_code == 202, placed.text
    location = extended.api_url + placed.headers["Location"]

    failed, repeated = warehouse.wait_for("order.synced", 2)
    assert failed == repeated
    assert repeated[1]["skus"]
    steps = finished(location)
    assert steps["notify_warehouse"]["attempt"] == 2

    with connection(extended.amqp_url) as link:
        for _ in range(2):
            link.channel().basic_publish(settled(location.rpartition("/")[2]), "orders.events", "payment.settled")
    warehouse.wait_for("payment.settled", 1)
    # The next event of the same queue comes after the second copy: by then the copy was acknowledged.
    httpx.post(f"{extended.api_url}/orders", json=order("EXT-2"), timeout=ANSWER_SECONDS)
    warehouse.wait_for("order.synced", 3)
    assert len(warehouse.because_of("payment.settled")) == 1


def test_a_system_whose_prometheus_cannot_start_is_healthy_and_leaves_nothing_when_it_is_asked_to_end(
    extended: ExtendedSystem,
) -> None:
    assert "without Prometheus" in extended.prometheus_error
    assert LocalStack.read(extended.instance.folder).healthy()

    # The system is the module's: no test may come after this one.
    extended.process.terminate()

    assert extended.process.wait(FINISHED_SECONDS) == 128 + signal.SIGTERM
    assert extended.instance.processes() == []


def finished(location: str) -> dict[str, dict[str, Any]]:
    """The steps of an order by name, as soon as it waits for none."""
    deadline = time.monotonic() + FINISHED_SECONDS
    while time.monotonic() < deadline:
        shown = httpx.get(location, timeout=ANSWER_SECONDS).json()
        if shown["status"] == "completed" and all(step["state"] == "done" for step in shown["steps"]):
            return {step["step"]: step for step in shown["steps"]}
        time.sleep(0.1)  # the poll's pace; the wait ends with the order's state
    raise AssertionError(f"{location} did not finish: {shown}")
