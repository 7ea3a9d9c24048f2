"""The inbox: every transition of the table in its docstring, every refusal, and which of two concurrent claims wins."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from outbox import failed_attempts, inbox
from outbox.dead_letter_reason import DeadLetterReason
from outbox.envelope import Event
from outbox.failed_attempts import Failure
from outbox.inbox import Claim, LeaseLostError, Refusal, Refused
from tests.support.builders.events import new_event
from tests.support.probes.database import connected, engine_of, pid_of, waits_for_a_lock

T = TypeVar("T")
DUE = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
FAILURE = Failure("SapError", "no answer", "Traceback: …")
LEASE_SECONDS = 3600.0
OVER = -1.0  # a lease that is over as soon as it is given


class Inbox:
    """One consumer's inbox, each call a transaction of its own."""

    def __init__(self, engine: AsyncEngine, observer: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.engine = engine
        self.observer = observer

    async def do(self, work: Callable[[AsyncConnection], Coroutine[Any, Any, T]]) -> T:
        async with self.engine.begin() as tx:
            return await work(tx)

    async def try_claim(self, event: Event, lease_seconds: float = LEASE_SECONDS) -> Claim | Refused:
        return await self.do(lambda tx: inbox.claim(tx, "sap", event, lease_seconds))

    async def claimed(self, event: Event, lease_seconds: float = LEASE_SECONDS) -> Claim:
        claim = await self.try_claim(event, lease_seconds)
        assert isinstance(claim, Claim)
        return claim

    async def at_once(self, event: Event) -> Claim | Refused:
        return await self.do(lambda tx: inbox.finish_at_once(tx, "sap", event))

    async def finish(self, claim: Claim, **journal: Any) -> None:
        await self.do(lambda tx: inbox.finish(tx, claim, journal))

    async def retry(self, claim: Claim, journal: dict[str, Any] | None = None) -> None:
        await self.do(lambda tx: failed_attempts.retry_later(tx, claim, FAILURE, DUE, journal))

    async def dead_letter(self, claim: Claim, journal: dict[str, Any] | None = None) -> None:
        await self.do(
            lambda tx: failed_attempts.dead_letter(
                tx, claim, FAILURE, DeadLetterReason.RETRIES_EXHAUSTED, None, journal
            )
        )

    async def row(self) -> dict[str, Any]:
        rows = await self.observer.fetch("SELECT * FROM outbox.deliveries")
        assert len(rows) == 1
        return dict(rows[0])


@asynccontextmanager
async def opened(shared_database_url: str) -> AsyncIterator[Inbox]:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (observer,):
        yield Inbox(engine, observer)


def under_generation(event: Event, generation: int) -> Event:
    """The same event under a later generation."""
    return replace(event, generation=generation)


def unleased(event: Event) -> Claim:
    """The claim of a local step whose transaction has failed."""
    return Claim("sap", event)


async def test_the_first_claim_runs_under_a_lease(shared_database_url: str) -> None:
    async with opened(shared_database_url) as box:
        event = new_event("order-8")
        claim = await box.claimed(event)
        row = await box.row()
        assert (claim.claims, claim.journal, claim.attempt) == (1, None, 1)
        assert (row["state"], row["generation"], row["claims"], row["subject"]) == ("running", 1, 1, "order-8")
        assert (row["consumer"], row["event_id"], row["lease_token"]) == ("sap", event.id, claim.token)
        left = row["lease_until"] - row["first_seen_at"]
        assert timedelta(seconds=LEASE_SECONDS - 1) < left <= timedelta(seconds=LEASE_SECONDS)


async def test_a_finished_claim_is_done_and_keeps_its_journal(shared_database_url: str) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        await box.finish(await box.claimed(event), sap_document="4711")
        row = await box.row()
        assert (row["state"], row["claims"], row["lease_token"], row["lease_until"]) == ("done", 0, None, None)
        assert row["journal"] == '{"sap_document": "4711"}'


@pytest.mark.parametrize("generation", [1, 2])
async def test_what_is_done_is_a_duplicate_for_every_later_delivery(shared_database_url: str, generation: int) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        await box.finish(await box.claimed(event))
        assert await box.try_claim(under_generation(event, generation)) == Refused(Refusal.DUPLICATE)
        assert await box.at_once(under_generation(event, generation)) == Refused(Refusal.DUPLICATE)
        assert (await box.row())["generation"] == 1


async def test_another_consumer_of_the_same_event_is_not_concerned(shared_database_url: str) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        await box.finish(await box.claimed(event))
        other = await box.do(lambda tx: inbox.finish_at_once(tx, "audit", event))
        assert isinstance(other, Claim)


async def test_local_effects_are_done_in_one_step_without_a_lease(shared_database_url: str) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        claim = await box.at_once(event)
        assert claim == Claim("sap", event)
        row = await box.row()
        assert (row["state"], row["generation"], row["claims"], row["lease_token"]) == ("done", 1, 0, None)


async def test_local_effects_that_fail_leave_no_row(shared_database_url: str) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()

        async def fail(tx: AsyncConnection) -> None:
            await inbox.finish_at_once(tx, "sap", event)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await box.do(fail)
        assert await box.observer.fetchval("SELECT count(*) FROM outbox.deliveries") == 0
        assert isinstance(await box.at_once(event), Claim)


async def test_a_concurrent_duplicate_of_a_local_step_waits_and_is_a_duplicate(shared_database_url: str) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        async with box.engine.connect() as first, box.engine.connect() as second:
            assert isinstance(await inbox.finish_at_once(first, "sap", event), Claim)
            pid = await pid_of(second)
            waiting = asyncio.create_task(inbox.finish_at_once(second, "sap", event))
            await waits_for_a_lock(box.observer, pid)
            assert not waiting.done()
            await first.commit()
            assert await waiting == Refused(Refusal.DUPLICATE)
            await second.rollback()


async def test_a_concurrent_duplicate_runs_when_the_first_one_is_rolled_back(shared_database_url: str) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        async with box.engine.connect() as first, box.engine.connect() as second:
            await inbox.finish_at_once(first, "sap", event)
            pid = await pid_of(second)
            waiting = asyncio.create_task(inbox.finish_at_once(second, "sap", event))
            await waits_for_a_lock(box.observer, pid)
            await first.rollback()
            assert isinstance(await waiting, Claim)
            await second.commit()
        assert (await box.row())["state"] == "done"


async def test_of_two_claims_at_once_one_runs_and_the_other_learns_until_when(shared_database_url: str) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        outcomes = await asyncio.gather(*(box.try_claim(event) for _ in range(4)))
        assert len([outcome for outcome in outcomes if isinstance(outcome, Claim)]) == 1
        until = (await box.row())["lease_until"]
        assert [outcome for outcome in outcomes if outcome == Refused(Refusal.BUSY, until)] == [
            outcome for outcome in outcomes if isinstance(outcome, Refused)
        ]
        assert (await box.row())["claims"] == 1


async def test_a_claim_after_the_lease_is_over_runs_and_counts_the_claims(shared_database_url: str) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        claims = [await box.claimed(event, OVER) for _ in range(3)]
        assert [claim.claims for claim in claims] == [1, 2, 3]
        assert [claim.claims for claim in claims] == [1, 2, 3]
        assert len({claim.token for claim in claims}) == 3
        assert (await box.row())["claims"] == 3


async def test_a_worker_that_lost_the_lease_can_write_nothing(shared_database_url: str) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        late = await box.claimed(event, OVER)
        current = await box.claimed(event)
        before = await box.row()
        writes: list[Callable[[], Coroutine[Any, Any, None]]] = [
            lambda: box.finish(late, a=1),
            lambda: box.retry(late),
            lambda: box.dead_letter(late),
            lambda: box.do(lambda tx: inbox.renew(tx, late, LEASE_SECONDS)),
        ]
        for write in writes:
            with pytest.raises(LeaseLostError, match=f"^sap no longer holds generation 1 of event {event.id}$"):
                await write()
        assert await box.row() == before
        await box.finish(current)
        with pytest.raises(LeaseLostError):
            await box.finish(current)


async def test_the_holder_of_an_overdue_lease_may_still_finish_until_another_claims_it(
    shared_database_url: str,
) -> None:
    async with opened(shared_database_url) as box:
        await box.finish(await box.claimed(new_event(), OVER))
        assert (await box.row())["state"] == "done"


async def test_a_renewed_lease_keeps_others_out(shared_database_url: str) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        claim = await box.claimed(event, OVER)
        await box.do(lambda tx: inbox.renew(tx, claim, LEASE_SECONDS))
        refused = await box.try_claim(event)
        assert refused == Refused(Refusal.BUSY, (await box.row())["lease_until"])


async def test_a_retry_expects_the_next_generation_and_keeps_the_error_and_the_journal(
    shared_database_url: str,
) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        await box.retry(await box.claimed(event), {"csrf": "seen"})
        row = await box.row()
        assert (row["state"], row["generation"], row["claims"], row["due_at"]) == ("retrying", 2, 0, DUE)
        assert (row["error_class"], row["error"], row["error_trace"]) == ("SapError", "no answer", "Traceback: …")
        assert (row["lease_token"], row["lease_until"], row["journal"]) == (None, None, '{"csrf": "seen"}')

        again = await box.claimed(under_generation(event, 2))
        assert (again.claims, again.journal, again.attempt) == (1, {"csrf": "seen"}, 2)
        row = await box.row()
        assert (row["state"], row["generation"], row["due_at"]) == ("running", 2, None)
        await box.retry(again)  # without new results the journal stays
        assert (await box.row())["journal"] == '{"csrf": "seen"}'


@pytest.mark.parametrize(
    ("generation", "refused"), [(1, Refused(Refusal.STALE)), (3, Refused(Refusal.BUSY, DUE))], ids=["older", "newer"]
)
async def test_while_a_generation_is_expected_a_lower_one_is_stale_and_a_higher_one_comes_back(
    shared_database_url: str, generation: int, refused: Refused
) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        await box.retry(await box.claimed(event))
        before = await box.row()
        assert await box.try_claim(under_generation(event, generation)) == refused
        assert await box.at_once(under_generation(event, generation)) == refused
        assert await box.row() == before


async def test_a_lower_generation_is_stale_while_a_higher_one_runs_even_when_the_lease_is_over(
    shared_database_url: str,
) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        await box.retry(await box.claimed(event))
        await box.claimed(under_generation(event, 2), OVER)
        assert await box.try_claim(event) == Refused(Refusal.STALE)
        assert (await box.claimed(under_generation(event, 2))).claims == 2


async def test_a_local_step_is_retried_without_ever_having_had_a_row(shared_database_url: str) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        await box.retry(unleased(event))
        assert (await box.row())["generation"] == 2
        assert await box.at_once(event) == Refused(Refusal.STALE)
        await box.retry(unleased(under_generation(event, 2)))
        assert (await box.row())["generation"] == 3
        assert isinstance(await box.at_once(under_generation(event, 3)), Claim)
        row = await box.row()
        assert (row["state"], row["generation"], row["due_at"]) == ("done", 3, None)


async def test_a_local_step_that_another_delivery_has_done_or_moved_on_schedules_nothing(
    shared_database_url: str,
) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        await box.retry(unleased(event))
        with pytest.raises(LeaseLostError):
            await box.retry(unleased(event))  # its duplicate failed too: one retry is enough
        await box.at_once(under_generation(event, 2))
        for write in (box.retry, box.dead_letter):
            with pytest.raises(LeaseLostError):
                await write(unleased(under_generation(event, 2)))
        assert (await box.row())["state"] == "done"


@pytest.mark.parametrize("leased", [True, False])
async def test_a_dead_lettered_delivery_is_rejected_again(shared_database_url: str, leased: bool) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        await box.dead_letter(await box.claimed(event) if leased else unleased(event))
        row = await box.row()
        assert (row["state"], row["generation"], row["claims"], row["due_at"]) == ("dead", 1, 0, None)
        assert (row["error_class"], row["lease_token"]) == ("SapError", None)
        assert await box.try_claim(event) == Refused(Refusal.DEAD)
        assert await box.at_once(event) == Refused(Refusal.DEAD)


@pytest.mark.parametrize("leased", [True, False])
async def test_an_expected_generation_can_be_dead_lettered(shared_database_url: str, leased: bool) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        await box.retry(await box.claimed(event))
        last = under_generation(event, 2)
        await box.dead_letter(await box.claimed(last) if leased else unleased(last))
        row = await box.row()
        assert (row["state"], row["generation"]) == ("dead", 2)
        assert await box.try_claim(event) == Refused(Refusal.STALE)
        assert await box.try_claim(last) == Refused(Refusal.DEAD)


async def test_a_replay_of_a_dead_delivery_runs_as_a_higher_generation_with_the_earlier_journal(
    shared_database_url: str,
) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        await box.dead_letter(await box.claimed(event), {"asked": True})
        replay = await box.claimed(under_generation(event, 2))
        assert (replay.claims, replay.journal, replay.attempt) == (1, {"asked": True}, 1)
        assert await box.try_claim(event) == Refused(Refusal.STALE)
        await box.finish(replay, done=True)
        assert (await box.row())["state"] == "done"


async def test_a_replay_of_a_dead_local_step_is_done_at_once_or_fails_as_an_attempt_of_its_own(
    shared_database_url: str,
) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        await box.dead_letter(unleased(event))
        await box.retry(unleased(under_generation(event, 2)))
        row = await box.row()
        assert (row["state"], row["generation"]) == ("retrying", 3)
        await box.dead_letter(unleased(under_generation(event, 3)))
        assert isinstance(await box.at_once(under_generation(event, 4)), Claim)
        assert (await box.row())["state"] == "done"


async def test_a_refusal_that_is_rolled_back_leaves_the_row_as_it_was(shared_database_url: str) -> None:
    async with opened(shared_database_url) as box:
        event = new_event()
        claim = await box.claimed(event)
        before = await box.row()
        async with box.engine.connect() as tx:
            await inbox.finish(tx, claim, {})
            await tx.rollback()
        assert await box.row() == before
        await box.finish(claim)


@pytest.mark.parametrize(
    "values",
    [
        "'paused', 1, 0, NULL, NULL",
        "'running', 1, 1, NULL, NULL",
        "'running', 1, 1, gen_random_uuid(), NULL",
        "'done', 1, 0, gen_random_uuid(), now()",
        "'done', 1, 0, NULL, now()",
        "'done', 0, 0, NULL, NULL",
        "'done', 1, -1, NULL, NULL",
    ],
)
async def test_the_schema_refuses_a_row_that_no_transition_makes(shared_database_url: str, values: str) -> None:
    async with opened(shared_database_url) as box:
        with pytest.raises(asyncpg.CheckViolationError):
            await box.observer.execute(
                "INSERT INTO outbox.deliveries (consumer, event_id, subject, state, generation, claims, lease_token, "
                f"lease_until) VALUES ('sap', '{new_event().id}', 's', {values})"
            )
