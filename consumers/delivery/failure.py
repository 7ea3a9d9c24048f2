"""The end of a failed attempt: scheduled again, handed back in an outage, or dead-lettered.

The inbox row, the attempt and the next message are committed together, and only then is the delivery answered. Called
by `consumers.delivery.pipeline`.
"""

from dataclasses import replace
from datetime import datetime
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery import attempt_log
from consumers.delivery.delivery import Delivery
from consumers.delivery.error_kinds import failure_of
from consumers.delivery.result import DeliveryResult
from consumers.delivery.retry_decision import RetryDecider, RetryDecision
from outbox import failed_attempts
from outbox.failed_attempts import Failure
from outbox.schedule import schedule
from runtime.logging import get_logger
from runtime.tracing import tracer

log = get_logger(__name__)


async def fail(delivery: Delivery, error: Exception, decider: RetryDecider, *, outage: bool) -> DeliveryResult:
    """Write a failed attempt down; the delivery's result. Raises LeaseLostError if it has ended otherwise meanwhile."""
    tracer.failed(error)
    failure = failure_of(error)
    write = partial(_write, delivery, error, failure, decider, outage)
    decision = await delivery.ctx.transactions.run(write, patient=True)
    _log(delivery, failure, decision)
    return decision.result


async def _write(
    delivery: Delivery, error: Exception, failure: Failure, decider: RetryDecider, outage: bool, tx: AsyncConnection
) -> RetryDecision:
    attempt = await failed_attempts.attempt_of(tx, delivery.claim)
    decision = decider.decide(attempt, delivery.event.generation, error, outage=outage)
    await _write_inbox(tx, delivery, failure, decision)
    await attempt_log.failed(tx, delivery, decision, _text(failure))
    return decision


async def _write_inbox(tx: AsyncConnection, delivery: Delivery, failure: Failure, decision: RetryDecision) -> None:
    claim, journal = delivery.claim, delivery.journal or None
    if decision.reason is not None:
        await failed_attempts.dead_letter(tx, claim, failure, decision.reason, decision.due_at, journal)
        return
    assert decision.due_at is not None, "an attempt that is not the last has a next one"
    if decision.result is DeliveryResult.AWAY:
        await failed_attempts.retry_after_outage(tx, claim, failure, decision.due_at)
    else:
        await failed_attempts.retry_later(tx, claim, failure, decision.due_at, journal)
    await _schedule_next(tx, delivery, decision.due_at)


async def _schedule_next(tx: AsyncConnection, delivery: Delivery, due_at: datetime) -> None:
    # The next attempt is part of this trace and comes after this one.
    event = delivery.event
    traceparent = tracer.traceparent() or event.traceparent
    following = replace(event, generation=event.generation + 1, traceparent=traceparent)
    await schedule(tx, following, delivery.step.queue, due_at)


def _log(delivery: Delivery, failure: Failure, decision: RetryDecision) -> None:
    fields = {
        "step": delivery.step.name,
        "order_id": str(delivery.order_id),
        "event_id": str(delivery.event.id),
        "attempt": decision.attempt,
        "error": _text(failure),
    }
    due_at = decision.due_at and decision.due_at.isoformat()
    if decision.reason is not None:
        log.error("step_dead_lettered", reason=decision.reason, replay_not_before=due_at, **fields)
    elif decision.result is DeliveryResult.AWAY:
        log.warning("outside_away", next_attempt_at=due_at, **fields)
    else:
        log.warning("step_failed", next_attempt_at=due_at, **fields)


def _text(failure: Failure) -> str:
    return f"{failure.error_class}: {failure.message}"
