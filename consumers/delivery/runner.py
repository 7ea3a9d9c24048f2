"""Runs one delivery: claim -> step -> finish | retry later | hand back | dead-letter.

What it promises: a step's effect, its inbox row and its next event are committed together. A failed try and the row
that schedules the next are committed together, then the delivery is acknowledged. Giving up is committed with its
reason, then the delivery is rejected; redelivered, it is rejected again. While Postgres is away a worker waits with
its delivery in hand: that is no try, and nothing is dead-lettered for it. Nor is it a try when the other side is away
as a whole: the delivery is scheduled again, and the outcome tells the worker to stop taking more
(consumers.worker.circuit).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.attempt_log import History
from consumers.delivery.claimed_local import ClaimedFirst
from consumers.delivery.context import Workplace
from consumers.delivery.error_kinds import KilledWorkerError, failure_of, kind_of
from consumers.delivery.lease import lease_renewed
from consumers.delivery.outcome import Outcome
from consumers.delivery.retry_decision import Judge, Verdict
from consumers.delivery.step_kinds import LocalStep, OutsideStep, RecordingStep, StepError
from consumers.delivery.transactions import Transactions
from orders.events import EventDataError, parse_order_id
from orders.workflow import ErrorKind, Step, pool_of
from outbox import inbox
from outbox.envelope import Event
from outbox.inbox import Claim, Failure, ForgottenError, LeaseLostError, Refusal, Refused
from outbox.schedule import schedule
from runtime.logging import get_logger
from runtime.redaction.redact import unquoted
from runtime.tracing import tracer

Reaction = LocalStep | OutsideStep | RecordingStep

# After these it is worth asking whether the other side is there at all. A refusal too: a password that has expired
# refuses everybody.
MAY_MEAN_AWAY = frozenset(
    {ErrorKind.CONNECTION, ErrorKind.TIMEOUT, ErrorKind.SERVER, ErrorKind.THROTTLED, ErrorKind.REFUSED}
)

SOONEST = timedelta(seconds=0.5)  # until a busy delivery comes back

log = get_logger(__name__)


class StepRunner:
    """One step in one worker process."""

    def __init__(self, step: Step, reaction: Reaction, place: Workplace) -> None:
        self._step = step
        self._reaction = reaction
        self._place = place
        self._history = History(step.name, place.worker)
        self._transactions = Transactions(place.engine)
        self._judge = Judge(step, place.settings)

    async def deliver(self, event: Event, *, redelivered: bool = False) -> Outcome:
        """Run one delivery to its end. `redelivered`: the broker gave it to somebody before, who did not end it.

        Data that is not the event's is rejected as it came: there is nothing that an inbox row could say of it.
        """
        try:
            order_id = parse_order_id(event.type, event.data)
            if isinstance(self._reaction, OutsideStep):
                return await self._act(self._reaction, order_id, event)
            if redelivered and isinstance(self._reaction, LocalStep):
                return await self._act(ClaimedFirst(self._reaction, event, self._time_limit), order_id, event)
            return await self._apply(self._reaction, order_id, event)
        except LeaseLostError as lost:
            log.warning("lease_lost", reason=str(lost))
            return await self._ended_otherwise(event)
        except (EventDataError, ForgottenError) as error:
            tracer.failed(error)
            told = f"{type(error).__name__}: {unquoted(str(error))}"
            log.error("event_refused", step=self._step.name, error=told, event_id=str(event.id))  # noqa: TRY400
            return Outcome.DEAD

    async def _ended_otherwise(self, event: Event) -> Outcome:
        """How to answer the broker for a delivery whose lease is lost, by what its inbox row says now.

        Given up in a commit whose answer was lost: rejected, or it would miss its dead-letter queue. Left running by a
        worker that died: scheduled, because this message may be the only one that there is.
        """
        return await self._refused(await self._transactions.run(partial(self._look, event)), event)

    async def _look(self, event: Event, tx: AsyncConnection) -> Refused:
        return await inbox.refusal(tx, self._step.queue, event)

    # Local effects: one transaction.

    async def _apply(self, reaction: LocalStep | RecordingStep, order_id: UUID, event: Event) -> Outcome:
        since = asyncio.get_running_loop().time()

        async def work(tx: AsyncConnection) -> Claim | Refused:
            if isinstance(reaction, RecordingStep):
                return await self._record(reaction, tx, order_id, event, since)
            claimed = await inbox.finish_at_once(tx, self._step.queue, event)
            if isinstance(claimed, Claim):
                async with self._time_limit():
                    await reaction.apply(self._place, tx, order_id, event)
                await self._history.done(tx, order_id, claimed, since)
            return claimed

        # A first recording is one statement, which needs no BEGIN and COMMIT around it.
        one_statement = isinstance(reaction, RecordingStep) and event.generation == 1
        try:
            claimed = await self._transactions.run(work, one_statement=one_statement)
        except ForgottenError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a step raises ends its try
            return await self._failed(Claim(self._step.queue, event), order_id, error, since=since)
        if isinstance(claimed, Claim):
            return Outcome.DONE
        if claimed.why is Refusal.BUSY and isinstance(
            reaction, LocalStep
        ):  # somebody has claimed it, and may have died
            return await self._act(ClaimedFirst(reaction, event, self._time_limit), order_id, event)
        return await self._refused(claimed, event)

    async def _record(
        self, reaction: RecordingStep, tx: AsyncConnection, order_id: UUID, event: Event, since: float
    ) -> Claim | Refused:
        if event.generation > 1:  # a try that failed left an inbox row and a step of the order: neither may stay open
            claimed = await inbox.finish_at_once(tx, self._step.queue, event)
            if isinstance(claimed, Claim):
                await self._history.done(tx, order_id, claimed, since)
        fresh = await reaction.record(self._place, tx, order_id, event)
        return Claim(self._step.queue, event) if fresh else Refused(Refusal.DUPLICATE)

    # Outside effects: claim, act, conclude.

    async def _act(self, reaction: OutsideStep, order_id: UUID, event: Event) -> Outcome:
        asked_at = 0.0

        async def claim(tx: AsyncConnection) -> tuple[Claim | Refused, Any]:
            nonlocal asked_at
            asked_at = asyncio.get_running_loop().time()
            return await self._claim(reaction, tx, order_id, event)

        try:
            claimed, prepared = await self._transactions.run(claim)
        except ForgottenError:
            raise
        except Exception as error:  # noqa: BLE001 - as below, but the claim did not come about
            return await self._failed(Claim(self._step.queue, event), order_id, error, since=asked_at)
        if isinstance(claimed, Refused):
            return await self._refused(claimed, event)
        journal: Mapping[str, Any] | None = claimed.journal
        try:
            if claimed.claims > inbox.MAX_CLAIMS:
                raise KilledWorkerError(f"begun {inbox.MAX_CLAIMS} times and never finished")
            if journal is None:
                lease = lease_renewed(
                    self._transactions, claimed, self._lease_seconds, asked_at, self._longest_commit_seconds
                )
                async with lease, self._time_limit():
                    journal = await reaction.perform(self._place, prepared, claimed)
            await self._transactions.run(lambda tx: self._conclude(reaction, tx, order_id, claimed, journal or {}))
        except LeaseLostError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a step raises ends its try
            away = journal is None and await self._away(reaction, error)
            return await self._failed(claimed, order_id, error, journal or None, away=away)
        return Outcome.DONE

    async def _claim(
        self, reaction: OutsideStep, tx: AsyncConnection, order_id: UUID, event: Event
    ) -> tuple[Claim | Refused, Any]:
        claimed = await inbox.claim(tx, self._step.queue, event, self._lease_seconds)
        if isinstance(claimed, Refused):
            return claimed, None
        await self._history.begins(tx, order_id, claimed)
        # With a journal the effect is there already, and only writing it down is left.
        return claimed, await reaction.prepare(self._place, tx, order_id) if claimed.journal is None else None

    async def _conclude(
        self, reaction: OutsideStep, tx: AsyncConnection, order_id: UUID, claim: Claim, journal: Mapping[str, Any]
    ) -> None:
        await inbox.finish(tx, claim, journal)
        await reaction.conclude(self._place, tx, order_id, journal)
        await self._history.done(tx, order_id, claim)

    async def _away(self, reaction: OutsideStep, error: Exception) -> bool:
        if kind_of(error) not in MAY_MEAN_AWAY:
            return False
        try:
            return await reaction.away(self._place)
        except Exception as failed:  # noqa: BLE001 - a probe that breaks says nothing, and must not end the try
            log.warning("probe_failed", step=self._step.name, error=f"{type(failed).__name__}: {failed}")
            return False

    @property
    def _lease_seconds(self) -> float:
        # Half of it and more is SAP's: whoever dies, or loses Postgres, has stopped acting by the other half.
        return max(self._place.settings.delivery_lease_seconds, 2 * self._longest_commit_seconds)

    @property
    def _longest_commit_seconds(self) -> float:
        """How long the other side may go on with what a worker set off that is gone: then a look at it is final."""
        setting = pool_of(self._step).commit_wait
        return float(getattr(self._place.settings, setting)) if setting else 0.0

    @contextlib.asynccontextmanager
    async def _time_limit(self) -> AsyncIterator[None]:
        """End a body that takes too long. A StepError, because a bare TimeoutError would read as Postgres away."""
        try:
            async with asyncio.timeout(self._step.time_limit_seconds):
                yield
        except TimeoutError as error:
            # A call to SAP may have been cut off: what it set off there must be over before anyone looks.
            message = f"not done within {self._step.time_limit_seconds} s"
            raise StepError(message, self._longest_commit_seconds, kind=ErrorKind.TIMEOUT) from error

    # The end of a try.

    async def _failed(
        self,
        claim: Claim,
        order_id: UUID,
        error: Exception,
        journal: Mapping[str, Any] | None = None,
        *,
        away: bool = False,
        since: float | None = None,
    ) -> Outcome:
        failure = failure_of(error)
        told = f"{failure.error_class}: {failure.message}"
        tracer.failed(error)

        async def write(tx: AsyncConnection) -> Verdict:
            verdict = self._judge.verdict(await inbox.attempt_of(tx, claim), claim.event.generation, error, away=away)
            await self._write_failure(tx, claim, failure, verdict, journal)
            await self._history.failed(tx, order_id, claim, verdict, told, since)
            return verdict

        verdict = await self._transactions.run(write, patient=True)
        said = {
            "step": self._step.name,
            "order_id": str(order_id),
            "event_id": str(claim.event.id),
            "attempt": verdict.attempt,
            "error": told,
        }
        due_at = verdict.due_at and verdict.due_at.isoformat()
        if verdict.reason is not None:
            log.error("step_gave_up", reason=verdict.reason, replay_not_before=due_at, **said)
        elif away:
            log.warning("outside_away", next_try_at=due_at, **said)
        else:
            log.warning("step_failed", next_try_at=due_at, **said)
        return verdict.outcome

    async def _write_failure(
        self,
        tx: AsyncConnection,
        claim: Claim,
        failure: Failure,
        verdict: Verdict,
        journal: Mapping[str, Any] | None,
    ) -> None:
        if verdict.reason is not None:
            await inbox.give_up(tx, claim, failure, verdict.reason, verdict.due_at, journal)
            return
        assert verdict.due_at is not None, "a try that is not the last has a next one"
        if verdict.outcome is Outcome.AWAY:
            await inbox.hand_back(tx, claim, failure, verdict.due_at)
        else:
            await inbox.retry_later(tx, claim, failure, verdict.due_at, journal)
        # The next try is part of this trace and comes after this one.
        traceparent = tracer.traceparent() or claim.event.traceparent
        following = replace(claim.event, generation=claim.event.generation + 1, traceparent=traceparent)
        await schedule(tx, following, self._step.queue, verdict.due_at)

    async def _refused(self, refused: Refused, event: Event) -> Outcome:
        if refused.why is Refusal.BUSY:
            # It comes back when the other worker's lease is over: by then it is done, or this one may take it. Not at
            # once where nothing is left to wait for: it would circle.
            soonest = datetime.now(UTC) + SOONEST
            until = max(refused.until or soonest, soonest)
            await self._transactions.run(lambda tx: schedule(tx, event, self._step.queue, until))
        return Outcome(refused.why.value)
