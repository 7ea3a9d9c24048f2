"""What an order's page and its story say of a delivery: how far the step is, and the attempt that got it there.

Both are one statement in the transaction of what they tell of. A claim opens an attempt and its end closes it; what was
not claimed is written once, at its end, as long ago as this process has been at it. A worker that is killed leaves an
attempt without an end, and the next claim is an attempt of its own.
"""

import asyncio
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.retry_decision import Verdict
from orders import repository
from orders.model import AttemptEnd, AttemptRecord, StepProgress, StepState
from outbox.inbox import Claim
from runtime.log_context import bind_attempt


class History:
    """Of one step, written by one worker process."""

    def __init__(self, step: str, worker: str) -> None:
        self._step = step
        self._worker = worker

    async def begins(self, tx: AsyncConnection, order_id: UUID, claim: Claim) -> None:
        """A claim is about to run."""
        await self._write(tx, order_id, claim, StepProgress(self._step, StepState.RUNNING, claim.attempt))

    async def done(self, tx: AsyncConnection, order_id: UUID, claim: Claim, since: float | None = None) -> None:
        """The step has had its effect. `since`: when what was not claimed was begun, by the clock of the loop."""
        progress = StepProgress(self._step, StepState.DONE, claim.attempt)
        await self._write(tx, order_id, claim, progress, AttemptEnd.DONE, since)

    async def failed(
        self,
        tx: AsyncConnection,
        order_id: UUID,
        claim: Claim,
        verdict: Verdict,
        error: str,
        since: float | None = None,
    ) -> None:
        """A try has failed, and the verdict says what comes of it."""
        end = AttemptEnd(verdict.outcome.value)
        progress = StepProgress(self._step, StepState.RETRYING, verdict.attempt, error, verdict.due_at)
        if end is AttemptEnd.DEAD:
            progress = StepProgress(self._step, StepState.DEAD, verdict.attempt, error)
        await self._write(tx, order_id, claim, progress, end, since)

    async def _write(
        self,
        tx: AsyncConnection,
        order_id: UUID,
        claim: Claim,
        progress: StepProgress,
        end: AttemptEnd | None = None,
        since: float | None = None,
    ) -> None:
        bind_attempt(progress.attempt)
        number = 0 if claim.token is None else claim.claims
        seconds = 0.0 if since is None else asyncio.get_running_loop().time() - since
        record = AttemptRecord(claim.event.generation, number, self._worker, seconds, end)
        await repository.set_step(tx, order_id, claim.event.type, progress, record)
