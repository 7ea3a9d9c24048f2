"""One order is one trace, from the request over relay and queues to SAP and mail server, with retries and replays."""

from collections import Counter
from functools import partial
from uuid import uuid4

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from consumers.delivery.result import DeliveryResult
from orders.workflow import BY_NAME
from runtime.settings import Settings
from tests.support.builders.in_process_api import order_body
from tests.support.builders.whole_system_in_process import WholeSystem, whole_system
from tests.support.probes.traces import TRACE_ID, TRACEPARENT, Traces, attribute, linked, span_id, trace_id, traced
from tests.support.processes.sandboxes import Sap, Smtp

SAP_FAILS_ONCE_AND_A_DEAD_LETTER_IS_REPLAYED = Counter(
    {
        ("outside", "POST /orders"): 1,
        ("POST /orders", "publish orders.events:order.placed"): 1,
        ("publish orders.events:order.placed", "process validation"): 1,
        ("process validation", "publish orders.events:order.validated"): 1,
        ("publish orders.events:order.validated", "process inventory"): 1,
        ("process inventory", "publish orders.events:inventory.reserved"): 1,
        ("publish orders.events:inventory.reserved", "process sap"): 1,
        ("process sap", "GET /A_SalesOrder"): 2,  # before each POST
        ("process sap", "GET /"): 2,  # a token; and whether SAP is there at all
        ("process sap", "POST /A_SalesOrder"): 2,
        ("process sap", "publish sap"): 1,
        ("publish sap", "process sap"): 1,
        ("process sap", "publish orders.events:order.synced"): 1,
        ("publish orders.events:order.synced", "process email"): 1,
        ("process email", "SMTP send"): 2,
        ("publish orders.events:order.synced", "publish email"): 1,  # this message was dead-lettered
        ("publish email", "process email"): 1,
        ("publish orders.events:order.synced", "process invoice"): 1,
        ("process invoice", "typeset invoice"): 1,
        ("process invoice", "store document"): 1,
        ("publish orders.events:order.synced", "process analytics"): 1,
        ("process email", "publish orders.events:order.fulfilled"): 1,
        ("publish orders.events:order.fulfilled", "process finalization"): 1,
        ("process finalization", "publish orders.events:order.completed"): 1,
        **{
            (f"publish orders.events:{kind}", "process audit"): 1
            for kind in BY_NAME["record_audit"].listens_to
            if kind != "order.rejected"
        },
    }
)


async def test_an_order_whose_sap_call_fails_once_and_whose_dead_letter_is_replayed_is_one_tree(
    settings: Settings, sap: Sap, inbox: Smtp
) -> None:
    with traced() as traces:
        customer = await _placed_failed_and_replayed(settings, sap, inbox)

    assert {trace_id(span) for span in traces.spans()} == {TRACE_ID}
    assert traces.edges() == SAP_FAILS_ONCE_AND_A_DEAD_LETTER_IS_REPLAYED
    _assert_kinds(traces)
    _assert_a_retry_is_linked_to_the_attempt_that_failed(traces)
    _assert_a_replay_is_linked_to_the_message_that_was_dead_lettered(traces)
    texts = traces.texts()
    assert not [text for text in customer if text in texts]


async def _placed_failed_and_replayed(settings: Settings, sap: Sap, inbox: Smtp) -> tuple[str, ...]:
    """Run it; the customer's name, address and street."""
    body = order_body(reference=f"TRACE-{uuid4().hex[:8]}")
    customer = body["customer"] | {"email": f"{uuid4().hex}@customers.example"}
    sap.faults(error_rate=1)
    inbox.refuse((customer["email"], 550))
    async with whole_system(settings) as system:
        await system.sells(body)
        answer = await system.api.client.post(
            "/orders", json=body | {"customer": customer}, headers={"traceparent": TRACEPARENT}
        )
        order_id = answer.json()["order_id"]
        await system.work_until(lambda: _has_ended(system, "sap", DeliveryResult.RETRIED))
        sap.faults(error_rate=0)  # before any other delivery
        await system.work_until(system.database.dead_letters)
        for queue in ("invoice", "analytics"):  # the dead letter that is sent again is the last of the three
            await system.work_until(partial(_has_ended, system, queue, DeliveryResult.DONE))
        inbox.refuse()
        assert (await system.database.replay()).sendings
        await system.work_until(lambda: _is_audited_to_its_end(system, order_id))
    return customer["name"], customer["email"], customer["address"]["street"]


async def _has_ended(system: WholeSystem, queue: str, outcome: DeliveryResult) -> bool:
    return (queue, outcome) in system.ended


async def _is_audited_to_its_end(system: WholeSystem, order_id: str) -> bool:
    found = "SELECT 1 FROM audit_log WHERE order_id = CAST(:id AS uuid) AND type = 'order.completed'"
    return await system.status(order_id) == "completed" and bool(await system.database.sql(found, id=order_id))


def _assert_kinds(traces: Traces) -> None:
    kinds = {"POST /orders": SpanKind.SERVER, "SMTP send": SpanKind.CLIENT, "typeset invoice": SpanKind.INTERNAL}
    kinds |= dict.fromkeys(("GET /A_SalesOrder", "GET /", "POST /A_SalesOrder"), SpanKind.CLIENT)
    kinds["store document"] = SpanKind.INTERNAL
    for span in traces.spans():
        by_verb = {"publish": SpanKind.PRODUCER, "process": SpanKind.CONSUMER}
        assert span.kind == (kinds.get(span.name) or by_verb[span.name.split()[0]]), span.name


def _assert_failed(span: ReadableSpan, error: str, outcome: str) -> None:
    assert span.status.status_code is StatusCode.ERROR
    assert [event.name for event in span.events] == ["exception"]
    assert attribute(span, "error.type") == error
    assert attribute(span, "waybill.outcome") == outcome


def _assert_a_retry_is_linked_to_the_attempt_that_failed(traces: Traces) -> None:
    failed, again = traces.spans("process sap")
    _assert_failed(failed, "StepError", "retried")
    assert linked(failed) == []
    assert linked(again) == [span_id(failed)]
    assert [attribute(span, "waybill.attempt") for span in (failed, again)] == [1, 2]
    assert (attribute(again, "waybill.outcome"), again.status.status_code) == ("done", StatusCode.UNSET)
    assert attribute(failed, "messaging.message.id") == attribute(again, "messaging.message.id")
    wrong, right = traces.spans("POST /A_SalesOrder")
    assert attribute(wrong, "http.response.status_code") in {500, 503}
    assert attribute(right, "http.response.status_code") == 201


def _assert_a_replay_is_linked_to_the_message_that_was_dead_lettered(traces: Traces) -> None:
    dead, replayed = traces.spans("process email")
    _assert_failed(dead, "MailRefused", "dead")
    assert linked(replayed) == [span_id(traces.one("publish orders.events:order.synced"))]
    assert attribute(replayed, "waybill.outcome") == "done"
    assert attribute(replayed, "waybill.attempt") == 1  # a replay starts with the first attempt
    refused, sent = traces.spans("SMTP send")
    assert refused.status.status_code is StatusCode.ERROR
    assert attribute(sent, "waybill.message_id") == attribute(refused, "waybill.message_id")
