"""The span of a call to SAP, and the trace context that SAP receives."""

from decimal import Decimal
from uuid import uuid4

import httpx
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from consumers.adapters.erp import ErpRefused, ErpUnreached
from consumers.adapters.sap import SapClient
from runtime.settings import Settings
from runtime.tracing import tracer
from tests.support.probes.traces import TRACEPARENT, Traces, attribute, span_id, trace_id, traced

SETTINGS = Settings(database_url="postgresql://h/d", amqp_url="amqp://h/", sap_url="https://sap.example")
FOUND = {"SalesOrder": "1", "TotalNetAmount": "2.00", "TransactionCurrency": "EUR"}


async def find(answer: httpx.Response | Exception) -> list[httpx.Request]:
    """Look an order up in a SAP that answers so; the requests that it got."""
    requests = []

    def take(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    client = SapClient(SETTINGS, httpx.AsyncClient(transport=httpx.MockTransport(take)))
    found = await client.find("WB-1", uuid4())
    assert found is not None
    assert found.net_amount == Decimal("2.00")
    return requests


def sound() -> httpx.Response:
    return httpx.Response(200, json={"d": {"results": [FOUND]}})


async def test_the_span_says_whom_and_what_for_and_neither_the_query_nor_who_we_are() -> None:
    with traced() as traces:
        (request,) = await find(sound())
    span = traces.one("GET /A_SalesOrder")
    assert request.headers["traceparent"].startswith(f"00-{trace_id(span)}-{span_id(span)}-")
    assert span.kind is SpanKind.CLIENT
    assert (attribute(span, "server.address"), attribute(span, "server.port")) == ("sap.example", 443)
    assert attribute(span, "http.response.status_code") == 200
    assert "filter" not in traces.texts()
    assert request.headers["authorization"] not in traces.texts()


def _only(traces: Traces) -> tuple[StatusCode, object]:
    span = traces.spans("GET /A_SalesOrder")[0]
    return span.status.status_code, attribute(span, "error.type")


async def test_a_call_that_fails_is_an_error() -> None:
    with traced() as traces, pytest.raises(ErpRefused):
        await find(httpx.Response(403, json={}))
    assert _only(traces) == (StatusCode.ERROR, "403")
    with traced() as traces, pytest.raises(ErpUnreached):
        await find(httpx.ConnectError("refused"))
    assert _only(traces) == (StatusCode.ERROR, "ErpUnreached")


async def test_without_tracing_sap_receives_a_context_that_came_from_outside_and_no_other() -> None:
    (request,) = await find(sound())
    assert "traceparent" not in request.headers
    with tracer.carried(TRACEPARENT):
        (request,) = await find(sound())
    assert request.headers["traceparent"] == TRACEPARENT
