"""Around one delivery: whose log lines these are, its span, how it ended and how long it took.

Whatever a step raises is its runner's to write down. What escapes the runner, a failure that cannot even be written
down, is told here, where it is known whose it is and what of it must not be shown; its message is rejected.

By OpenTelemetry's conventions a delivery is a CONSUMER span whose parent is the context that the message bears. A later
try is also linked to what it follows: the relay says in `tracestate`, which is where W3C puts what one system alone
understands, after which span of this trace the message was recorded. For a retry that is the try that failed, for a
replay the message that was given up.
"""

import re
from collections.abc import Mapping
from time import perf_counter

from consumers.delivery.outcome import Outcome
from consumers.delivery.runner import StepRunner
from consumers.worker.intake import task_id
from orders.workflow import Step
from outbox.envelope import TRACESTATE, Event
from runtime.log_context import LogContext, bind
from runtime.logging import get_logger
from runtime.tracing import tracer
from runtime.tracing.spans import Kind, SpanAround
from runtime.tracing.trace_context import named_by, valid

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

log = get_logger(__name__)


async def deliver(
    runner: StepRunner, step: Step, event: Event, attributes: Mapping[str, object], *, redelivered: bool
) -> Outcome:
    """Run one delivery to its end, and tell of it."""
    begun = perf_counter()
    with bind(work_of(step, event)) as work, _span(step, event, work, attributes) as span:
        if span.traceparent is not None:
            work.traceparent = span.traceparent
        try:
            outcome = await runner.deliver(event, redelivered=redelivered)
        except Exception as error:
            span.failed(error)
            log.exception("step_broke")
            outcome = Outcome.DEAD
        if tracer.is_on():
            span.note({"waybill.outcome": outcome.value, "waybill.attempt": work.attempt or 0})
        log.info("step_ended", outcome=outcome.value, duration_ms=round((perf_counter() - begun) * 1000, 1))
    return outcome


def work_of(step: Step, event: Event) -> LogContext:
    """What the lines of a delivery bear. `attempt` is the message's until the inbox has said which try it is."""
    return LogContext(
        step.name,
        order_id=event.subject if _UUID.match(event.subject) else None,
        event_id=str(event.id),
        task_id=task_id(step.queue, event),
        attempt=event.generation,
        traceparent=valid(event.traceparent),
    )


def _span(step: Step, event: Event, work: LogContext, attributes: Mapping[str, object]) -> SpanAround:
    parent = work.traceparent
    if not tracer.is_on():
        return tracer.carried(parent)
    known: dict[str, str | int] = {
        "messaging.system": "rabbitmq",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": step.queue,
        "messaging.rabbitmq.destination.routing_key": event.type,
        "messaging.message.id": str(event.id),
        "messaging.message.body.size": len(event.data),
        "waybill.step": step.name,
        "waybill.task_id": work.task_id or "",
    }
    if work.order_id is not None:
        known["waybill.order_id"] = work.order_id
    links = () if parent is None or event.generation == 1 else (named_by(attributes.get(TRACESTATE), parent) or parent,)
    return tracer.span(f"process {step.queue}", Kind.CONSUMER, known, parent, links)
