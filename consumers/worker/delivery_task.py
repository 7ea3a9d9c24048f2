"""The Celery task of a step, and all that stands around one delivery: log context, span, report, answer to the broker.

    Celery ─▶ task body ─▶ deliver ─▶ StepRunner.deliver ─▶ step.run
                 │             └─ log context, span, `step_ended`
                 └─ report to the main process, answer to the broker

The pipeline writes every failure of a step down. An error that escapes the pipeline, a failure that cannot even be
written down, is logged here, where the log context knows the delivery and what of it must not be shown; its message is
rejected.

By OpenTelemetry's conventions a delivery is a CONSUMER span whose parent is the message's own context. A later
generation is also linked to the span that it follows: the relay names that span in `tracestate`, which is where W3C
puts what one system alone understands. For a retry that is the attempt that failed, for a replay the message that was
dead-lettered.
"""

import re
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from celery import Celery, Task
from celery.exceptions import Reject

from consumers.delivery.pipeline import StepRunner
from consumers.delivery.result import DeliveryResult
from consumers.worker.child import ChildProcess
from consumers.worker.child_reports import DeliveryReport, ReportPipe
from consumers.worker.cloud_event_task import task_id
from orders.workflow import Step
from outbox.envelope import TRACESTATE, Event, decode
from runtime.log_context import LogContext, bind
from runtime.logging import get_logger
from runtime.trace_context import named_by, valid
from runtime.tracing import tracer
from runtime.tracing.spans import Kind, SpanAround

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

log = get_logger(__name__)


def add_task(app: Celery, step: Step, child: ChildProcess, reports: ReportPipe) -> None:
    """Add a step's task to the application. Its arguments are made by `consumers.worker.cloud_event_task.adapt`."""

    def run(task: "Task[Any, Any]", attributes: dict[str, Any], body: str, redelivered: bool) -> str:
        started = perf_counter()
        event = decode(attributes, body.encode())
        result = child.run(run_delivery(child.runner(step), event, attributes, redelivered=redelivered))
        reports.send(DeliveryReport.of(str(task.request.id), step, event, result, perf_counter() - started))
        if result is DeliveryResult.DEAD:
            raise Reject(f"{step.name} dead-lettered it", requeue=False)
        return str(result.value)

    run.__doc__ = f"{step.name} listens to {', '.join(step.listens_to)}."
    app.task(name=step.name, bind=True, Request="consumers.worker.celery_request:EventRequest")(run)


async def run_delivery(
    runner: StepRunner, event: Event, attributes: Mapping[str, object], *, redelivered: bool
) -> DeliveryResult:
    """Run one delivery within its log context and its span, and log its end."""
    started = perf_counter()
    with bind(log_context_of(runner.step, event)) as context, _span(runner.step, event, context, attributes) as span:
        if span.traceparent is not None:
            context.traceparent = span.traceparent
        try:
            result = await runner.deliver(event, redelivered=redelivered)
        except Exception as error:
            span.failed(error)
            log.exception("step_broke")
            result = DeliveryResult.DEAD
        if tracer.is_on():
            span.note({"waybill.outcome": result.value, "waybill.attempt": context.attempt or 0})
        log.info("step_ended", outcome=result.value, duration_ms=round((perf_counter() - started) * 1000, 1))
    return result


def log_context_of(step: Step, event: Event) -> LogContext:
    """The log context of a delivery. `attempt` is unknown until the inbox has counted it."""
    return LogContext(
        step.name,
        order_id=event.subject if _UUID.match(event.subject) else None,
        event_id=str(event.id),
        task_id=task_id(step.queue, event),
        traceparent=valid(event.traceparent),
    )


def _span(step: Step, event: Event, context: LogContext, attributes: Mapping[str, object]) -> SpanAround:
    parent = context.traceparent
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
        "waybill.task_id": context.task_id or "",
    }
    if context.order_id is not None:
        known["waybill.order_id"] = context.order_id
    links = () if parent is None or event.generation == 1 else (named_by(attributes.get(TRACESTATE), parent) or parent,)
    return tracer.span(f"process {step.queue}", Kind.CONSUMER, known, parent, links)
