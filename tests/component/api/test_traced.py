"""A request's span and context: what a client sends is honoured if it is valid, and recorded with the event."""

import asyncio
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import AsyncMock

import httpx
import pytest
from opentelemetry.trace import SpanKind, StatusCode
from starlette.types import Receive, Scope, Send

from api.traced import Traced
from runtime.tracing import tracer
from tests.support.builders.in_process_api import order_body, running_api
from tests.support.probes.traces import TRACEPARENT, UNSAMPLED, Traces, attribute, recorded, span_id, trace_id, traced

Headers = list[tuple[bytes, bytes]]
CLIENTS = (b"traceparent", TRACEPARENT.encode())
UNSAMPLED_CLIENTS = (b"traceparent", UNSAMPLED.encode())


def asked(database_url: str, folder: Path, *requests: tuple[str, str, Headers]) -> list[httpx.Response]:
    """The answers to requests, each with a method, a path and headers; what is posted is an order."""

    async def main() -> list[httpx.Response]:
        async with running_api(database_url, folder) as api:
            answers = []
            for number, (method, path, headers) in enumerate(requests):
                body = order_body(reference=f"r{number}") if method == "POST" else None
                answers.append(await api.client.request(method, path, json=body, headers=headers))
            return answers

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("headers", "carried"),
    [
        ([CLIENTS], TRACEPARENT),
        ([UNSAMPLED_CLIENTS], UNSAMPLED),
        ([], None),
        ([(b"traceparent", b"00-a-b-01")], None),
        ([(b"traceparent", b"\xff")], None),
        ([CLIENTS, CLIENTS], None),
    ],
)
def test_without_tracing_a_clients_valid_context_is_recorded_as_it_is(
    database_url: str, tmp_path: Path, headers: Headers, carried: str | None
) -> None:
    (answer,) = asked(database_url, tmp_path, ("POST", "/orders", headers))
    assert answer.status_code == 202
    assert recorded(database_url) == [carried]


@pytest.mark.parametrize("on", [False, True])
async def test_a_request_without_a_context_is_in_no_trace_of_its_caller(*, on: bool) -> None:
    carried: list[str | None] = []

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        carried.append(tracer.traceparent())

    async def call(*headers: tuple[bytes, bytes]) -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "scheme": "http", "headers": headers}
        await Traced(app)(scope, AsyncMock(), AsyncMock())

    with traced() if on else nullcontext() as traces:
        around = tracer.span("around") if on else tracer.carried(TRACEPARENT)
        with around:
            await call()
            await call(CLIENTS)
    without, with_one = carried
    assert with_one is not None
    assert with_one[:36] == TRACEPARENT[:36]
    if isinstance(traces, Traces):
        first, _ = traces.spans("GET")
        assert first.parent is None
        assert without is not None
    else:
        assert without is None


def test_with_tracing_the_event_belongs_to_the_requests_span(database_url: str, tmp_path: Path) -> None:
    with traced() as traces:
        answers = asked(
            database_url,
            tmp_path,
            ("POST", "/orders", [CLIENTS]),
            ("POST", "/orders", [(b"traceparent", b"nonsense")]),
        )
    first, second = traces.spans("POST /orders")
    assert traces.edges() == {("outside", "POST /orders"): 1, ("", "POST /orders"): 1}
    assert trace_id(first) == TRACEPARENT[3:35] != trace_id(second)
    contexts = [one.rpartition("-")[0] for one in recorded(database_url)]
    assert contexts == [f"00-{trace_id(span)}-{span_id(span)}" for span in (first, second)]
    assert first.kind is SpanKind.SERVER
    assert {
        name: attribute(first, name) for name in ("http.request.method", "http.route", "url.path", "url.scheme")
    } == {
        "http.request.method": "POST",
        "http.route": "/orders",
        "url.path": "/orders",
        "url.scheme": "http",
    }
    assert attribute(first, "http.response.status_code") == 202
    assert attribute(first, "waybill.order_id") == answers[0].json()["order_id"]


def test_a_trace_that_its_beginner_does_not_sample_makes_no_span_and_is_carried_on(
    database_url: str, tmp_path: Path
) -> None:
    with traced() as traces:
        asked(database_url, tmp_path, ("POST", "/orders", [UNSAMPLED_CLIENTS]))
    assert traces.spans() == []
    (carried,) = recorded(database_url)
    assert carried[:36] == UNSAMPLED[:36]
    assert carried[-3:] == "-00"


def test_a_share_of_none_records_only_traces_that_the_caller_records(database_url: str, tmp_path: Path) -> None:
    with traced(ratio=0) as traces:
        asked(database_url, tmp_path, ("POST", "/orders", []), ("POST", "/orders", [CLIENTS]))
    assert [trace_id(span) for span in traces.spans()] == [TRACEPARENT[3:35]]


def _failed(traces: Traces, name: str) -> bool:
    return traces.one(name).status.status_code is StatusCode.ERROR


def test_a_span_is_named_by_the_route_and_only_our_own_fault_makes_it_an_error(
    database_url: str, tmp_path: Path
) -> None:
    with traced() as traces:
        asked(
            database_url,
            tmp_path,
            ("GET", "/orders/5b0b1f0e-3c58-4f0e-9b0e-7d1c52a4e6d1", []),
            ("GET", "/nothing/jane@example.com", []),
            ("BREW", "/orders", []),
            ("GET", "/healthz", []),
            ("GET", "/metrics", []),
        )
    assert [span.name for span in traces.spans()] == ["GET /orders/{order_id}", "GET", "HTTP /orders"]
    assert not _failed(traces, "GET /orders/{order_id}")
    assert attribute(traces.one("GET"), "url.path") == "/nothing/***"


def test_an_answer_of_5xx_is_an_error(tmp_path: Path) -> None:
    with traced() as traces:
        (answer,) = asked("postgresql://nobody:x@127.0.0.1:1/none", tmp_path, ("GET", "/orders", []))
    assert answer.status_code == 503
    assert _failed(traces, "GET /orders")
    assert attribute(traces.one("GET /orders"), "error.type") == "503"
