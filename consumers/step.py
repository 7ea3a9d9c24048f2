"""Runs one delivery: claim -> step -> finish | retry later | dead-letter.

What it promises: a step's effect, its inbox row and its next event are committed together. A failed try and the row
that schedules the next are committed together, then the delivery is acknowledged. Giving up is committed with its
reason, then the delivery is rejected; redelivered, it is rejected again. While Postgres is away a worker waits with
its delivery in hand: that is no try, and nothing is dead-lettered for it.
"""

import asyncio
import contextlib
import random
import traceback
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.reactions import LocalStep, OutsideStep, RecordingStep, StepError
from consumers.transactions import Transactions
from consumers.workplace import Workplace
from orders import repository
from orders.events import parse_order_id
from orders.model import StepProgress, StepState
from orders.workflow import Step
from outbox import inbox
from outbox.envelope import MAX_TRY, Event
from outbox.inbox import Claim, Failure, LeaseLostError, Refusal, Refused
from outbox.schedule import schedule
from runtime.logging import get_logger

LONGEST_TEXT = 4_000  # characters of an error or trace that are kept

Reaction = LocalStep | OutsideStep | RecordingStep

log = get_logger(__name__)


class Outcome(Enum):
    """How a delivery ended; all but DEAD are acknowledged."""

    DONE = "done"
    DUPLICATE = "duplicate"
    STALE = "stale"
    BUSY = "busy"
    RETRIED = "retried"
    DEAD = "dead"


class KilledWorkerError(Exception):
    """A delivery was begun several times and never finished: it kills the worker that runs it."""


class StepRunner:
    """One step in one worker process."""

    def __init__(self, step: Step, reaction: Reaction, place: Workplace) -> None:
        self._step = step
        self._reaction = reaction
        self._place = place
        self._transactions = Transactions(place.engine)
        self._rng = random.Random()  # noqa: S311 - jitter is no secret

    async def deliver(self, event: Event) -> Outcome:
        """Run one delivery to its end. Raises EventDataError for data that is not the event's."""
        order_id = parse_order_id(event.type, event.data)
        try:
            if isinstance(self._reaction, OutsideStep):
                return await self._act(self._reaction, order_id, event)
            return await self._apply(self._reaction, order_id, event)
        except LeaseLostError as lost:
            log.warning("lease_lost", reason=str(lost))
            return await self._ended_otherwise(event)

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
        async def work(tx: AsyncConnection) -> Claim | Refused:
            if isinstance(reaction, RecordingStep):
                return await self._record(reaction, tx, order_id, event)
            claimed = await inbox.finish_at_once(tx, self._step.queue, event)
            if isinstance(claimed, Claim):
                async with self._time_limit():
                    await reaction.apply(self._place, tx, order_id, event)
                await self._show(tx, order_id, event, StepState.DONE)
            return claimed

        # A first recording is one statement, which needs no BEGIN and COMMIT around it.
        one_statement = isinstance(reaction, RecordingStep) and event.attempt == 1
        try:
            claimed = await self._transactions.run(work, one_statement=one_statement)
        except Exception as error:  # noqa: BLE001 - whatever a step raises ends its try
            return await self._failed(Claim(self._step.queue, event), order_id, error)
        return Outcome.DONE if isinstance(claimed, Claim) else await self._refused(claimed, event)

    async def _record(
        self, reaction: RecordingStep, tx: AsyncConnection, order_id: UUID, event: Event
    ) -> Claim | Refused:
        if event.attempt > 1:  # a try that failed before left an inbox row: it must not stay open
            await inbox.finish_at_once(tx, self._step.queue, event)
        fresh = await reaction.record(self._place, tx, order_id, event)
        return Claim(self._step.queue, event) if fresh else Refused(Refusal.DUPLICATE)

    # Outside effects: claim, act, conclude.

    async def _act(self, reaction: OutsideStep, order_id: UUID, event: Event) -> Outcome:
        try:
            claimed, prepared = await self._transactions.run(lambda tx: self._claim(reaction, tx, order_id, event))
        except Exception as error:  # noqa: BLE001 - as below, but the claim did not come about
            return await self._failed(Claim(self._step.queue, event), order_id, error)
        if isinstance(claimed, Refused):
            return await self._refused(claimed, event)
        journal: Mapping[str, Any] | None = claimed.journal
        try:
            if claimed.begun > inbox.MAX_BEGUN:
                raise KilledWorkerError(f"begun {inbox.MAX_BEGUN} times and never finished")
            if journal is None:
                async with self._lease_renewed(claimed), self._time_limit():
                    journal = await reaction.perform(self._place, prepared, claimed)
            await self._transactions.run(lambda tx: self._conclude(reaction, tx, order_id, claimed, journal or {}))
        except LeaseLostError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a step raises ends its try
            return await self._failed(claimed, order_id, error, journal)
        return Outcome.DONE

    async def _claim(
        self, reaction: OutsideStep, tx: AsyncConnection, order_id: UUID, event: Event
    ) -> tuple[Claim | Refused, Any]:
        claimed = await inbox.claim(tx, self._step.queue, event, self._lease_seconds)
        if isinstance(claimed, Refused):
            return claimed, None
        await self._show(tx, order_id, event, StepState.RUNNING)
        # With a journal the effect is there already, and only writing it down is left.
        return claimed, await reaction.prepare(self._place, tx, order_id) if claimed.journal is None else None

    async def _conclude(
        self, reaction: OutsideStep, tx: AsyncConnection, order_id: UUID, claim: Claim, journal: Mapping[str, Any]
    ) -> None:
        await inbox.finish(tx, claim, journal)
        await reaction.conclude(self._place, tx, order_id, journal)
        await self._show(tx, order_id, claim.event, StepState.DONE)

    @property
    def _lease_seconds(self) -> float:
        settings = self._place.settings
        if self._step.pool != "sap":
            return settings.delivery_lease_seconds
        # A worker that dies after its POST leaves at least two thirds of a lease: by then SAP has committed or never
        # will, and the next claim's look is final.
        return max(settings.delivery_lease_seconds, 1.5 * settings.sap_commit_seconds)

    @contextlib.asynccontextmanager
    async def _time_limit(self) -> AsyncIterator[None]:
        """End a body that takes too long. A StepError, because a bare TimeoutError would read as Postgres away."""
        try:
            async with asyncio.timeout(self._step.time_limit_seconds):
                yield
        except TimeoutError as error:
            # A call to SAP may have been cut off: what it set off there must be over before anyone looks.
            wait = self._place.settings.sap_commit_seconds if self._step.pool == "sap" else 0.0
            raise StepError(f"not done within {self._step.time_limit_seconds} s", wait) from error

    @contextlib.asynccontextmanager
    async def _lease_renewed(self, claim: Claim) -> AsyncIterator[None]:
        """Renew while the body runs; a lost lease ends the body with LeaseLostError."""
        body = asyncio.current_task()
        lost: list[LeaseLostError] = []

        async def renew() -> None:
            while True:
                await asyncio.sleep(self._lease_seconds / 3)
                try:
                    await self._transactions.run(lambda tx: inbox.renew(tx, claim, self._lease_seconds))
                except LeaseLostError as error:
                    lost.append(error)
                    if body is not None:
                        body.cancel()
                    return

        renewing = asyncio.create_task(renew())
        try:
            yield
        except asyncio.CancelledError:
            if not lost:
                raise
            if body is not None:
                body.uncancel()
            raise lost[0] from None
        finally:
            renewing.cancel()
            # Awaited, so that a renewal cut off in mid-statement has given its connection back.
            ended = (await asyncio.gather(renewing, return_exceptions=True))[0]
            if isinstance(ended, Exception):
                log.warning("lease_not_renewed", reason=f"{type(ended).__name__}: {ended}")

    # The end of a try.

    async def _failed(
        self, claim: Claim, order_id: UUID, error: Exception, journal: Mapping[str, Any] | None = None
    ) -> Outcome:
        failure = Failure(type(error).__name__, _short(str(error)), _short("".join(traceback.format_exception(error))))
        attempt = claim.event.attempt
        last = self._step.retry.gives_up_after(attempt) or attempt >= MAX_TRY or isinstance(error, KilledWorkerError)
        due_at = None if last else datetime.now(UTC) + self._delay(attempt, error)
        tell = log.error if last else log.warning
        tell(
            "step_gave_up" if last else "step_failed",
            step=self._step.name,
            order_id=str(order_id),
            event_id=str(claim.event.id),
            attempt=attempt,
            error=f"{failure.error_class}: {failure.message}",
            next_try_at=due_at and due_at.isoformat(),
        )
        await self._transactions.run(
            lambda tx: self._write_failure(tx, claim, order_id, failure, due_at, journal), patient=True
        )
        return Outcome.DEAD if last else Outcome.RETRIED

    async def _write_failure(
        self,
        tx: AsyncConnection,
        claim: Claim,
        order_id: UUID,
        failure: Failure,
        due_at: datetime | None,
        journal: Mapping[str, Any] | None,
    ) -> None:
        if due_at is None:
            await inbox.give_up(tx, claim, failure, journal)
        else:
            await inbox.retry_later(tx, claim, failure, due_at, journal)
            following = replace(claim.event, attempt=claim.event.attempt + 1)
            await schedule(tx, following, self._step.queue, due_at)
        state = StepState.DEAD if due_at is None else StepState.RETRYING
        error = f"{failure.error_class}: {failure.message}"
        await self._show(tx, order_id, claim.event, state, error, due_at)

    def _delay(self, attempt: int, error: Exception) -> timedelta:
        settings = self._place.settings
        base = settings.sap_retry_base_seconds if self._step.pool == "sap" else settings.retry_base_seconds
        at_least = error.wait_seconds if isinstance(error, StepError) else 0.0
        return timedelta(seconds=at_least + self._step.retry.delay_seconds(attempt, base, self._rng))

    async def _refused(self, refused: Refused, event: Event) -> Outcome:
        if refused.why is Refusal.BUSY:
            # It comes back when the other worker's lease is over: by then it is done, or this one may take it.
            assert refused.until is not None, "what runs has a lease"
            until = refused.until
            await self._transactions.run(lambda tx: schedule(tx, event, self._step.queue, until))
        return Outcome(refused.why.value)

    async def _show(
        self,
        tx: AsyncConnection,
        order_id: UUID,
        event: Event,
        state: StepState,
        error: str | None = None,
        next_try_at: datetime | None = None,
    ) -> None:
        progress = StepProgress(self._step.name, state, event.attempt, error, next_try_at)
        await repository.set_step(tx, order_id, event.type, progress)


def _short(text: str) -> str:
    """What is kept of an error: Postgres takes no NUL and no lone surrogate, and nobody reads a megabyte."""
    text = text.replace("\x00", "\\x00").encode(errors="backslashreplace").decode()
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT // 2] + " … " + text[-LONGEST_TEXT // 2 :]
