"""The log of attempts: the progress of a step on its order's page, and the attempt that made it.

Both are written by one statement, in the same transaction as the effect. A claim opens an attempt and the end of the
delivery closes it. An attempt without a claim is written once, at its end, back-dated by its duration. A worker that is
killed leaves an attempt without an end, and the next claim is an attempt of its own.
"""

import asyncio

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.delivery import Delivery
from consumers.delivery.result import DeliveryResult, attempt_end
from consumers.delivery.retry_decision import RetryDecision
from orders import steps
from orders.model import AttemptEnd, AttemptRecord, StepProgress, StepState
from outbox.inbox import Claim
from runtime.log_context import bind_attempt


async def started(tx: AsyncConnection, delivery: Delivery, claim: Claim) -> None:
    """A claim is about to run."""
    await _write(tx, delivery, claim, StepProgress(delivery.step.name, StepState.RUNNING, claim.attempt))


async def done(tx: AsyncConnection, delivery: Delivery, claim: Claim) -> None:
    """The step has had its effect."""
    progress = StepProgress(delivery.step.name, StepState.DONE, claim.attempt)
    await _write(tx, delivery, claim, progress, AttemptEnd.DONE)


async def failed(tx: AsyncConnection, delivery: Delivery, decision: RetryDecision, error: str) -> None:
    """The attempt has failed, and `decision` says what follows."""
    step, attempt = delivery.step.name, decision.attempt
    progress = StepProgress(step, StepState.RETRYING, attempt, error, decision.due_at)
    if decision.result is DeliveryResult.DEAD:
        progress = StepProgress(step, StepState.DEAD, attempt, error)
    await _write(tx, delivery, delivery.claim, progress, attempt_end(decision.result))


async def _write(
    tx: AsyncConnection, delivery: Delivery, claim: Claim, progress: StepProgress, end: AttemptEnd | None = None
) -> None:
    bind_attempt(progress.attempt)
    number, seconds = claim.claims, 0.0
    if claim.token is None:
        number, seconds = 0, asyncio.get_running_loop().time() - delivery.started_at
    record = AttemptRecord(claim.event.generation, number, delivery.ctx.worker, seconds, end)
    await steps.set_step(tx, delivery.order_id, claim.event.type, progress, record)
