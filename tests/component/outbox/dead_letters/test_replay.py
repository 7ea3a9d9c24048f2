"""A replay marks the dead letter, records its event once under its own generation, and makes every older copy stale."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from outbox import inbox
from outbox.dead_letters.queries import Selection, history, whole
from outbox.dead_letters.replay import discard, plan, replay, restore
from outbox.dead_letters.replay_plan import BATCH, Pace, Replayed
from outbox.dead_letters.store import NewDeadLetter
from outbox.envelope import Event
from outbox.inbox import Claim, Refusal, Refused
from tests.support.builders.dead_letters import ANNA, EXCHANGE, dead_letter_database, dead_letter_for
from tests.support.builders.events import new_event
from tests.support.probes.database import connected, pid_of, waits_for_a_lock

BERT = replace(ANNA, actor="bert@desk")


async def test_a_replay_records_the_event_as_it_was_for_the_queue_it_died_in(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database:
        event = new_event(generation=4, traceparent="00-1-2-01")
        await database.keep(dead_letter_for(event))
        await database.delivery(event, "dead", reason="retries_exhausted", error="no answer")
        (sending,) = (await database.replay()).sendings
        assert (sending.event, sending.destination) == (replace(event, generation=5), "sap")
        (row,) = await database.sent()
        fields = ("type", "subject", "source", "time", "dataschema", "traceparent", "data")
        assert [row[name] for name in fields] == [getattr(event, name) for name in fields]
        assert (row["event_id"], row["destination"], row["generation"]) == (event.id, "sap", 5)
        (dead_letter,) = await database.dead_letters()
        assert (dead_letter.state, dead_letter.replay_count) == ("replayed", 1)
        (action,) = await database.do(lambda tx: history(tx, dead_letter.id))
        assert (action.action, action.actor, action.why) == ("replay", "anna@desk", "SAP is back")
        assert (action.generation, action.due_at) == (5, None)


async def test_a_replay_has_its_full_number_of_attempts_and_older_copies_are_stale(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database:
        event = new_event(generation=4)
        await database.keep(dead_letter_for(event))
        await database.delivery(event, "dead")
        await database.replay()
        row = await database.inbox_row(event)
        assert (row["state"], row["generation"], row["first_generation"], row["claims"]) == ("retrying", 5, 5, 0)
        for generation in (1, 4):
            old = replace(event, generation=generation)
            refused = await database.do(lambda tx, old=old: inbox.claim(tx, "sap", old, 60))  # type: ignore[misc]
            assert refused == Refused(Refusal.STALE)
        claimed = await database.do(lambda tx: inbox.claim(tx, "sap", replace(event, generation=5), 60))
        assert isinstance(claimed, Claim)


@pytest.mark.parametrize(
    ("state", "generation", "more", "expected"),
    [
        ("dead", 9, {}, 10),
        ("retrying", 7, {}, 8),
        ("running", 2, {"lease_token": uuid4(), "lease_until": datetime(2026, 1, 1, tzinfo=UTC), "claims": 3}, 3),
    ],
)
async def test_the_generation_of_a_replay_is_above_the_dead_letters_and_the_inboxs(
    shared_database_url: str, state: str, generation: int, more: dict[str, Any], expected: int
) -> None:
    async with dead_letter_database(shared_database_url) as database:
        event = new_event(generation=2)
        await database.keep(dead_letter_for(event))
        await database.delivery(replace(event, generation=generation), state, **more)
        (sending,) = (await database.replay()).sendings
        assert (sending.event.generation, sending.effect_done) == (expected, False)
        row = await database.inbox_row(event)
        assert (row["state"], row["generation"], row["claims"], row["lease_token"]) == ("retrying", expected, 0, None)


async def test_an_effect_that_is_done_is_not_done_again(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database:
        event = new_event()
        await database.keep(dead_letter_for(event))
        await database.delivery(event, "done")
        (sending,) = (await database.replay()).sendings
        assert sending.effect_done
        assert (await database.inbox_row(event))["state"] == "done"
        refused = await database.do(lambda tx: inbox.claim(tx, "sap", sending.event, 60))
        assert refused == Refused(Refusal.DUPLICATE)


async def test_a_dead_letter_whose_delivery_has_no_row_gets_one_so_that_its_other_copies_are_stale(
    shared_database_url: str,
) -> None:
    async with dead_letter_database(shared_database_url) as database:
        event = new_event()
        await database.keep(dead_letter_for(event, reason="delivery_limit"))
        await database.replay()
        row = await database.inbox_row(event)
        assert (row["state"], row["generation"], row["first_generation"]) == ("retrying", 2, 2)
        assert await database.do(lambda tx: inbox.claim(tx, "sap", event, 60)) == Refused(Refusal.STALE)
        assert isinstance(await database.do(lambda tx: inbox.claim(tx, "sap", replace(event, generation=2), 60)), Claim)


async def test_a_copy_that_is_claimed_in_this_very_moment_is_waited_for_and_runs_alone(
    shared_database_url: str,
) -> None:
    async with dead_letter_database(shared_database_url) as database, connected(shared_database_url) as (observer,):
        event = new_event()
        await database.keep(dead_letter_for(event, reason="delivery_limit"))
        async with database.engine.begin() as claiming:
            assert isinstance(await inbox.claim(claiming, "sap", event, 60), Claim)
            async with database.engine.begin() as tx:
                replaying = asyncio.create_task(replay(tx, Selection(), ANNA, EXCHANGE))
                await waits_for_a_lock(observer, await pid_of(tx))
                await claiming.commit()
                (refused,) = (await replaying).refused
        assert "it runs now" in refused.why
        assert (await database.inbox_row(event))["state"] == "running"
        assert await database.sent() == []


@pytest.mark.parametrize("state", ["dead", "retrying"])
@pytest.mark.parametrize("pace", [None, Pace(datetime(2026, 1, 1, tzinfo=UTC), 1)], ids=["at once", "paced"])
async def test_a_replay_waits_for_an_outside_effect_that_may_still_be_running(
    shared_database_url: str, state: str, pace: Pace | None
) -> None:
    async with dead_letter_database(shared_database_url) as database:
        event = new_event()
        await database.keep(dead_letter_for(event))
        not_before = datetime.now(UTC) + timedelta(minutes=1)
        await database.delivery(event, state, due_at=not_before)
        await database.replay(pace=pace)
        (row,) = await database.sent("scheduled")
        assert (row["due_at"], row["generation"]) == (not_before, 2)
        assert await database.sent() == []


@pytest.mark.parametrize(
    "dead_letter", [dead_letter_for(queue="unrouted", reason="unrouted"), dead_letter_for(queue=EXCHANGE)]
)
async def test_what_did_not_die_in_a_queue_goes_to_the_exchange(
    shared_database_url: str, dead_letter: NewDeadLetter
) -> None:
    async with dead_letter_database(shared_database_url) as database:
        await database.keep(dead_letter, dead_letter_for(queue="test.nowhere", reason="unpublishable"))
        await database.replay()
        assert [(row["destination"], row["generation"]) for row in await database.sent()] == [
            (None, 2),
            ("test.nowhere", 2),
        ]
        await database.keep(replace(dead_letter, generation=2))
        await database.replay(pace=Pace(datetime.now(UTC), 1))
        (row,) = await database.sent("scheduled")
        assert (row["destination"], row["generation"]) == (None, 2)


async def test_two_dead_letters_of_one_event_get_generations_of_their_own_and_the_last_one_runs(
    shared_database_url: str,
) -> None:
    async with dead_letter_database(shared_database_url) as database:
        event = new_event()
        await database.keep(dead_letter_for(event), dead_letter_for(replace(event, generation=2)))
        await database.delivery(replace(event, generation=2), "dead")
        await database.replay()
        assert [row["generation"] for row in await database.sent()] == [3, 4]
        assert (await database.inbox_row(event))["generation"] == 4


async def test_two_operators_who_replay_at_once_record_each_dead_letter_once(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database, connected(shared_database_url) as (observer,):
        await database.keep(*(dead_letter_for() for _ in range(20)))
        async with database.engine.begin() as first, database.engine.begin() as second:
            mine = await replay(first, Selection(), ANNA, EXCHANGE)
            pid = await pid_of(second)
            theirs = asyncio.create_task(replay(second, Selection(), BERT, EXCHANGE))
            await waits_for_a_lock(observer, pid)
            await first.commit()
            assert await theirs == Replayed()
        assert len(mine.sendings) == len(await database.sent()) == 20
        assert {dead_letter.replay_count for dead_letter in await database.dead_letters()} == {1}


async def test_a_replay_that_is_rolled_back_leaves_everything_as_it_was(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database:
        event = new_event()
        await database.keep(dead_letter_for(event))
        await database.delivery(event, "dead")
        async with database.engine.connect() as tx:
            assert (await replay(tx, Selection(), ANNA, EXCHANGE)).sendings
            await tx.rollback()
        (dead_letter,) = await database.dead_letters()
        assert (dead_letter.state, dead_letter.replay_count) == ("open", 0)
        assert (await database.inbox_row(event))["state"] == "dead"
        assert not await database.sent()


async def test_a_rate_spreads_the_dead_letters_over_time_in_their_order(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database:
        events = [new_event(f"order-{n}") for n in range(6)]
        for event in events:
            await database.keep(dead_letter_for(event))
        await database.delivery(events[0], "dead")
        start = datetime.now(UTC)
        pace = Pace(start, per_second=4)
        first = await database.replay(Selection(limit=4), pace)
        await database.replay(Selection(), pace.after(len(first.sendings)))
        rows = await database.sent("scheduled")
        assert [row["event_id"] for row in rows] == [event.id for event in events]
        assert [row["due_at"] for row in rows] == [start + timedelta(seconds=n / 4) for n in range(6)]
        assert not await database.sent()
        assert (await database.inbox_row(events[0]))["due_at"] == start
        (last,) = (await database.dead_letters())[-1:]
        (action,) = await database.do(lambda tx: history(tx, last.id))
        assert action.due_at == start + timedelta(seconds=5 / 4)


async def test_a_plan_says_what_a_replay_would_do_and_changes_nothing(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database:
        done = new_event()
        await database.keep(dead_letter_for(), dead_letter_for(done), dead_letter_for(headers={}))
        await database.delivery(done, "done")
        planned = await database.do(lambda tx: plan(tx, Selection(), EXCHANGE))
        assert [(one.destination, one.effect_done) for one in planned.sendings] == [("sap", False), ("sap", True)]
        assert len(planned.refused) == 1
        assert {dead_letter.state for dead_letter in await database.dead_letters()} == {"open"}
        assert not await database.sent()
        assert await database.replay() == planned


async def test_batches_continue_after_refused_dead_letters_until_none_is_left(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database:
        await database.keep(*(dead_letter_for() if n % 2 else dead_letter_for(headers={}) for n in range(BATCH + 10)))
        first = await database.replay()
        assert len(first.sendings) + len(first.refused) == BATCH
        second = await database.do(lambda tx: replay(tx, Selection(), ANNA, EXCHANGE, None, first.last))
        assert len(second.sendings) + len(second.refused) == 10
        assert await database.do(lambda tx: replay(tx, Selection(), ANNA, EXCHANGE, None, second.last)) == Replayed()
        assert len(await database.sent()) == (BATCH + 10) // 2


async def test_a_discarded_dead_letter_is_restored_and_its_history_says_who_did_it_and_why(
    shared_database_url: str,
) -> None:
    async with dead_letter_database(shared_database_url) as database:
        await database.keep(dead_letter_for(), dead_letter_for(queue="email"))
        await database.do(lambda tx: discard(tx, Selection(queues=("sap",)), ANNA))
        assert [dead_letter.state for dead_letter in await database.dead_letters()] == ["discarded", "open"]
        assert not (await database.replay(Selection(queues=("sap",)))).sendings
        await database.do(lambda tx: restore(tx, Selection(), BERT))
        dead_letters = await database.dead_letters()
        assert [dead_letter.state for dead_letter in dead_letters] == ["open", "open"]
        kept = await database.do(lambda tx: whole(tx, dead_letters[0].id))
        assert kept is not None
        assert [(one.action, one.actor) for one in kept.actions] == [
            ("discard", "anna@desk"),
            ("restore", "bert@desk"),
        ]
        assert len((await database.replay()).sendings) == 2


async def test_dead_letters_of_one_subject_go_in_the_order_in_which_they_came(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database:
        events: list[Event] = [new_event("order-1") for _ in range(12)]
        for event in events:
            await database.keep(dead_letter_for(event, "sap" if event.id.int % 2 else "email"))
        await database.replay()
        assert [row["event_id"] for row in await database.sent()] == [event.id for event in events]
