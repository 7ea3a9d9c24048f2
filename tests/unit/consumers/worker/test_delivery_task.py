"""The parent, links and attributes of a delivery's span, and the fields of its log lines."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, cast

import pytest
from opentelemetry.trace import StatusCode

from consumers.delivery.pipeline import StepRunner
from consumers.delivery.result import DeliveryResult
from consumers.worker.cloud_event_task import task_id
from consumers.worker.delivery_task import log_context_of, run_delivery
from orders.workflow import BY_NAME
from outbox.envelope import TRACESTATE, Event
from runtime.log_context import bind_attempt, current
from runtime.tracing import tracer
from tests.support.builders.events import new_event
from tests.support.probes.traces import TRACEPARENT, UNSAMPLED, Traces, attribute, linked, traced
from tests.support.processes.log_lines import FIELDS, lines

STEP = BY_NAME["sync_order_to_sap"]
ORDER_ID = "0190163d-8694-739b-aea5-966c26f8ad91"
FAILED_ATTEMPT = "1" * 16


class Runner:
    """A step that finds out that this is try three, and notes what a message from here would carry."""

    step = STEP
    carried: str | None = None

    async def deliver(self, event: Event, *, redelivered: bool = False) -> DeliveryResult:  # noqa: ARG002
        bind_attempt(3)
        self.carried = tracer.traceparent()
        return DeliveryResult.RETRIED


def delivered(event: Event, attributes: Mapping[str, Any] | None = None) -> str | None:
    """Run one delivery; what a message recorded in it carries."""
    runner = Runner()
    work = run_delivery(cast("StepRunner", runner), event, attributes or {}, redelivered=False)
    assert asyncio.run(work) is DeliveryResult.RETRIED
    assert current() is None
    return runner.carried


def the_span_of(event: Event, attributes: Mapping[str, Any] | None = None) -> Any:
    with traced() as traces:
        delivered(event, attributes)
    return traces.one("process sap")


def test_a_later_generation_is_linked_to_the_span_that_the_relay_names() -> None:
    span = the_span_of(new_event(traceparent=TRACEPARENT, generation=2), {TRACESTATE: f"waybill={FAILED_ATTEMPT}"})
    assert linked(span) == [FAILED_ATTEMPT]
    assert f"{span.parent.span_id:016x}" == TRACEPARENT[36:52]


@pytest.mark.parametrize("tracestate", [None, "other=1", 7])
def test_a_later_generation_is_linked_to_its_own_context_where_the_relay_names_none(tracestate: object) -> None:
    span = the_span_of(new_event(traceparent=TRACEPARENT, generation=2), {TRACESTATE: tracestate})
    assert linked(span) == [TRACEPARENT[36:52]]


def test_a_first_generation_and_one_without_a_context_are_linked_to_nothing() -> None:
    assert linked(the_span_of(new_event(traceparent=TRACEPARENT))) == []
    rootless = the_span_of(new_event(traceparent="00-a-b-01", generation=2), {TRACESTATE: f"waybill={FAILED_ATTEMPT}"})
    assert (linked(rootless), rootless.parent) == ([], None)


def test_the_span_has_its_outcome_and_its_generation() -> None:
    span = the_span_of(new_event(ORDER_ID))
    assert attribute(span, "waybill.outcome") == "retried"
    assert attribute(span, "waybill.attempt") == 3
    assert attribute(span, "waybill.order_id") == ORDER_ID


def test_without_tracing_a_context_that_came_with_the_message_goes_on_as_it_is() -> None:
    assert delivered(new_event(traceparent=TRACEPARENT)) == TRACEPARENT
    assert delivered(new_event(traceparent="00-a-b-01")) is None
    assert delivered(new_event()) is None


def test_with_tracing_what_is_not_sampled_goes_on_and_is_not_sampled() -> None:
    with traced() as traces:
        carried = delivered(new_event(traceparent=UNSAMPLED))
    assert isinstance(traces, Traces)
    assert traces.spans() == []
    assert str(carried)[:36] == UNSAMPLED[:36]
    assert str(carried)[-3:] == "-00"


def test_an_error_that_escapes_a_step_is_logged_once_as_the_deliverys_and_without_private_data() -> None:
    broke, ended = lines("""
        from consumers.worker.delivery_task import run_delivery
        from consumers.delivery.result import DeliveryResult
        from orders.workflow import BY_NAME
        from tests.support.builders.events import new_event

        class Breaks:
            step = BY_NAME["sync_order_to_sap"]

            async def deliver(self, event, *, redelivered):
                redact("Zoe Mueller", "4 Elm St")
                try:
                    raise ValueError("invalid input for query argument $3: 'Zoe Mueller' of 4 Elm St")
                except ValueError:
                    raise RuntimeError("the failure cannot be written down")

        work = run_delivery(Breaks(), new_event(ORDER_ID), {}, redelivered=False)
        assert asyncio.run(work) is DeliveryResult.DEAD
    """)
    assert (broke["event"], ended["event"], ended["outcome"]) == ("step_broke", "step_ended", "dead")
    assert "the failure cannot be written down" in broke["exception"]
    for line in (broke, ended):
        assert (line["order_id"], line["step"], line.keys() >= FIELDS) == (ORDER_ID, "sync_order_to_sap", True)
        assert "Zoe" not in json.dumps(line)
        assert "Elm" not in json.dumps(line)


async def test_a_broken_deliverys_span_has_failed() -> None:
    class Breaks(Runner):
        async def deliver(self, event: Event, *, redelivered: bool = False) -> DeliveryResult:  # noqa: ARG002
            raise RuntimeError("broken")

    with traced() as traces:
        work = run_delivery(cast("StepRunner", Breaks()), new_event("no order"), {}, redelivered=False)
        assert await work is DeliveryResult.DEAD
    span = traces.one("process sap")
    assert span.status.status_code is StatusCode.ERROR
    assert attribute(span, "waybill.outcome") == "dead"
    assert attribute(span, "waybill.order_id") is None


def test_a_subject_that_is_no_order_is_in_no_line() -> None:
    sound, strange = new_event(ORDER_ID), new_event("jane@example.com")
    fields = log_context_of(STEP, sound).fields()
    assert fields == {
        "order_id": ORDER_ID,
        "event_id": str(sound.id),
        "task_id": task_id("sap", sound),
        "step": "sync_order_to_sap",
        "attempt": None,
        "trace_id": ORDER_ID.replace("-", ""),
    }
    assert log_context_of(STEP, strange).fields()["order_id"] is None
