"""Spans leave API, relay and workers as OTLP over HTTP; without a receiver nothing waits and nothing ends."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from lab.stack.ports import free_port
from orders.workflow import POOLS
from runtime.settings import Settings
from tests.support.builders.in_process_api import order_body
from tests.support.deadlines import ANSWER_SECONDS
from tests.support.paths import ROOT
from tests.support.probes.broker_queues import Queues
from tests.support.probes.traces import TRACE_ID, TRACEPARENT
from tests.support.processes.api import RunningApi, api_process
from tests.support.processes.program import RunningProgram
from tests.support.processes.relay import relay
from tests.support.processes.worker import Worker, wait_until_it_consumes, worker
from tests.support.servers.otlp_receiver import otlp_receiver

# A process's imports and the first moments of its life, with {more} of its own.
_LIFE = """
import sys
from runtime.tracing import tracer
from runtime.logging import configure_logging
from runtime.settings import load_settings

settings = load_settings()
configure_logging(settings, "test")
tracer.set_up(settings, "test")
{more}
with tracer.span("anything") as span:
    assert span.traceparent is None
tracer.shut_down()
print(*(name for name in sys.modules if name.split(".")[0] == "opentelemetry"))
"""
_API = "from api.app import create_app; create_app(settings)"
_OTHERS = """
from consumers.collector import process
from consumers.worker import app
from relay.__main__ import Relay
for pool in ("local", "sap", "email", "invoice"):
    app.make_celery(settings, pool)
    app._import_before_forking(settings, {step: app.step_class(step) for step in app.steps_of(pool)})
"""


@contextmanager
def programs(settings: Settings, tmp_path: Path) -> Iterator[tuple[RunningApi, RunningProgram, Worker]]:
    """An API, a relay, and a local worker that consumes."""
    with (
        api_process(settings.database_url, tmp_path) as api,
        relay(settings.database_url, settings.amqp_url, tmp_path) as carrying,
        worker("local", settings, tmp_path) as working,
        Queues.of(settings.amqp_url) as queues,
    ):
        wait_until_it_consumes(working, queues, "local")
        yield api, carrying, working


def test_api_relay_and_worker_export_the_spans_of_one_trace(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with otlp_receiver() as receiver:
        monkeypatch.setenv("TRACING_OTLP_URL", receiver.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")  # so that what comes was sent at the end
        with programs(settings, tmp_path) as (api, carrying, working):
            answer = httpx.post(
                f"{api.url}/orders", json=order_body(), headers={"traceparent": TRACEPARENT}, timeout=ANSWER_SECONDS
            )
            assert answer.status_code == 202
            working.wait_until(lambda: working.count("step_ended") >= 2, "the ends of validation and audit")
            assert working.stop() == 0
            assert carrying.stop() == 0
            assert api.stop() == 0
        request, publish, process = receiver.wait_for(
            ("waybill-api", "POST /orders"),
            ("waybill-relay", "publish orders.events:order.placed"),
            ("waybill-worker-local", "process validation"),
        )
    assert {request.trace_id, publish.trace_id, process.trace_id} == {TRACE_ID}
    assert (publish.parent_id, process.parent_id) == (request.span_id, publish.span_id)


def test_without_a_receiver_of_spans_orders_are_accepted_and_the_process_ends_in_time(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACING_OTLP_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    with api_process(database_url, tmp_path) as api:

        def warnings() -> int:
            """Warnings with a number; the end may log one more, without one, if it waited for the last batch."""
            lines = [json.loads(line) for line in api.log.read_text().splitlines()]
            return sum(line["event"] == "spans_lost" and line["spans"] is not None for line in lines)

        for number in range(20):
            answer = httpx.post(f"{api.url}/orders", json=order_body(reference=f"r{number}"), timeout=ANSWER_SECONDS)
            assert answer.status_code == 202
        deadline = time.monotonic() + 20
        while not warnings():
            assert time.monotonic() < deadline, "no warning was logged"
            time.sleep(0.02)
        assert api.stop() == 0  # it has 20 s, less than theirs may wait for
        assert warnings() == 1
        assert [line for line in api.log.read_text().splitlines() if "opentelemetry" in line] == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "256"),  # below the batch of 512; refused by a child
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1"),  # refused at the import already
    ],
)
def test_a_variable_that_opentelemetry_refuses_costs_the_spans_and_no_order(
    variable: str, value: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACING_OTLP_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv(variable, value)
    with programs(settings, tmp_path) as (api, carrying, working):
        answer = httpx.post(f"{api.url}/orders", json=order_body(), timeout=ANSWER_SECONDS)
        assert answer.status_code == 202
        working.wait_until(lambda: working.count("step_ended") >= 2, "the ends of validation and audit")
        assert {line["outcome"] for line in working.lines() if line["event"] == "step_ended"} == {"done"}
        working.wait_until(lambda: working.count("tracing_off") == POOLS["local"].concurrency, "a line of each child")
        for log in (api.log, carrying.log):
            assert '"event": "tracing_off"' in log.read_text()


def imported(more: str) -> list[str]:
    """What of OpenTelemetry a process has imported, after `more` of its own."""
    addresses = {"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d", "AMQP_URL": "amqp://u:p@127.0.0.1:1/"}
    life = subprocess.run(
        [sys.executable, "-c", _LIFE.format(more=more)],
        cwd=ROOT,
        env=addresses,
        capture_output=True,
        text=True,
        check=False,
    )
    assert life.returncode == 0, life.stderr
    return life.stdout.split()


def test_without_tracing_relay_workers_and_collector_import_nothing_of_opentelemetry() -> None:
    assert imported(_OTHERS) == []


def test_without_tracing_the_api_imports_only_the_interfaces_that_fastapi_does() -> None:
    assert [name for name in imported(_API) if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))] == []
