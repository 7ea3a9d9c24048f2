"""A replay marks the letter, records its event once under a try of its own, and makes every older copy stale."""

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
from outbox.dead_letters.store import NewLetter
from outbox.envelope import Event
from outbox.inbox import Claim, Refusal, Refused
from tests.support.builders.dead_letters import ANNA, EXCHANGE, desk_at, letter_for
from tests.support.builders.events import new_event
from tests.support.probes.database import connected, pid_of, waits_for_a_lock

BERT = replace(ANNA, actor="bert@desk")


async def test_a_replay_records_the_event_as_it_was_for_the_queue_it_died_in(shared_database_url: str) -> None:
    async with desk_at(shared_database_url) as desk:
        event = new_event(attempt=4, traceparent="00-1-2-01")
        await desk.keep(letter_for(event))
        await desk.delivery(event, "dead", reason="retries_exhausted", error="no answer")
        (sending,) = (await desk.replay()).sendings
        assert (sending.event, sending.destination) == (replace(event, attempt=5), "sap")
        (row,) = await desk.sent()
        fields = ("type", "subject", "source", "time", "dataschema", "traceparent", "data")
        assert [row[name] for name in fields] == [getattr(event, name) for name in fields]
        assert (row["event_id"], row["destination"], row["attempt"]) == (event.id, "sap", 5)
        (letter,) = await desk.letters()
        assert (letter.state, letter.replay_count) == ("replayed", 1)
        (action,) = await desk.do(lambda tx: history(tx, letter.id))
        assert (action.action, action.actor, action.why) == ("replay", "anna@desk", "SAP is back")
        assert (action.attempt, action.due_at) == (5, None)


async def test_a_replay_has_its_full_number_of_tries_and_older_copies_are_stale(shared_database_url: str) -> None:
    async with desk_at(shared_database_url) as desk:
        event = new_event(attempt=4)
        await desk.keep(letter_for(event))
        await desk.delivery(event, "dead")
        await desk.replay()
        row = await desk.inbox_row(event)
        assert (row["state"], row["attempt"], row["first_attempt"], row["begun"]) == ("retrying", 5, 5, 0)
        for attempt in (1, 4):
            old = replace(event, attempt=attempt)
            refused = await desk.do(lambda tx, old=old: inbox.claim(tx, "sap", old, 60))  # type: ignore[misc]
            assert refused == Refused(Refusal.STALE)
        claimed = await desk.do(lambda tx: inbox.claim(tx, "sap", replace(event, attempt=5), 60))
        assert isinstance(claimed, Claim)


@pytest.mark.parametrize(
    ("state", "attempt", "more", "next_try"),
    [
        ("dead", 9, {}, 10),
        ("retrying", 7, {}, 8),
        ("running", 2, {"lease_token": uuid4(), "lease_until": datetime(2026, 1, 1, tzinfo=UTC), "begun": 3}, 3),
    ],
)
async def test_the_try_of_a_replay_is_later_than_the_letters_and_the_inboxs(
    shared_database_url: str, state: str, attempt: int, more: dict[str, Any], next_try: int
) -> None:
    async with desk_at(shared_database_url) as desk:
        event = new_event(attempt=2)
        await desk.keep(letter_for(event))
        await desk.delivery(replace(event, attempt=attempt), state, **more)
        (sending,) = (await desk.replay()).sendings
        assert (sending.event.attempt, sending.effect_done) == (next_try, False)
        row = await desk.inbox_row(event)
        assert (row["state"], row["attempt"], row["begun"], row["lease_token"]) == ("retrying", next_try, 0, None)


async def test_an_effect_that_is_done_is_not_done_again(shared_database_url: str) -> None:
    async with desk_at(shared_database_url) as desk:
        event = new_event()
        await desk.keep(letter_for(event))
        await desk.delivery(event, "done")
        (sending,) = (await desk.replay()).sendings
        assert sending.effect_done
        assert (await desk.inbox_row(event))["state"] == "done"
        refused = await desk.do(lambda tx: inbox.claim(tx, "sap", sending.event, 60))
        assert refused == Refused(Refusal.DUPLICATE)


async def test_a_letter_whose_delivery_has_no_row_gets_one_so_that_its_other_copies_are_stale(
    shared_database_url: str,
) -> None:
    async with desk_at(shared_database_url) as desk:
        event = new_event()
        await desk.keep(letter_for(event, reason="delivery_limit"))
        await desk.replay()
        row = await desk.inbox_row(event)
        assert (row["state"], row["attempt"], row["first_attempt"]) == ("retrying", 2, 2)
        assert await desk.do(lambda tx: inbox.claim(tx, "sap", event, 60)) == Refused(Refusal.STALE)
        assert isinstance(await desk.do(lambda tx: inbox.claim(tx, "sap", replace(event, attempt=2), 60)), Claim)


async def test_a_copy_that_is_claimed_in_this_very_moment_is_waited_for_and_runs_alone(
    shared_database_url: str,
) -> None:
    async with desk_at(shared_database_url) as desk, connected(shared_database_url) as (observer,):
        event = new_event()
        await desk.keep(letter_for(event, reason="delivery_limit"))
        async with desk.engine.begin() as claiming:
            assert isinstance(await inbox.claim(claiming, "sap", event, 60), Claim)
            async with desk.engine.begin() as tx:
                replaying = asyncio.create_task(replay(tx, Selection(), ANNA, EXCHANGE))
                await waits_for_a_lock(observer, await pid_of(tx))
                await claiming.commit()
                (refused,) = (await replaying).refused
        assert "it runs now" in refused.why
        assert (await desk.inbox_row(event))["state"] == "running"
        assert await desk.sent() == []


@pytest.mark.parametrize("state", ["dead", "retrying"])
@pytest.mark.parametrize("pace", [None, Pace(datetime(2026, 1, 1, tzinfo=UTC), 1)], ids=["at once", "paced"])
async def test_what_a_try_may_have_set_off_outside_is_waited_for(
    shared_database_url: str, state: str, pace: Pace | None
) -> None:
    async with desk_at(shared_database_url) as desk:
        event = new_event()
        await desk.keep(letter_for(event))
        not_before = datetime.now(UTC) + timedelta(minutes=1)
        await desk.delivery(event, state, due_at=not_before)
        await desk.replay(pace=pace)
        (row,) = await desk.sent("scheduled")
        assert (row["due_at"], row["attempt"]) == (not_before, 2)
        assert await desk.sent() == []


@pytest.mark.parametrize("letter", [letter_for(queue="unrouted", reason="unrouted"), letter_for(queue=EXCHANGE)])
async def test_what_did_not_die_in_a_queue_goes_to_the_exchange(shared_database_url: str, letter: NewLetter) -> None:
    async with desk_at(shared_database_url) as desk:
        await desk.keep(letter, letter_for(queue="test.nowhere", reason="unpublishable"))
        await desk.replay()
        assert [(row["destination"], row["attempt"]) for row in await desk.sent()] == [
            (None, 2),
            ("test.nowhere", 2),
        ]
        await desk.keep(replace(letter, attempt=2))
        await desk.replay(pace=Pace(datetime.now(UTC), 1))
        (row,) = await desk.sent("scheduled")
        assert (row["destination"], row["attempt"]) == (None, 2)


async def test_two_letters_of_one_event_get_tries_of_their_own_and_the_last_one_runs(shared_database_url: str) -> None:
    async with desk_at(shared_database_url) as desk:
        event = new_event()
        await desk.keep(letter_for(event), letter_for(replace(event, attempt=2)))
        await desk.delivery(replace(event, attempt=2), "dead")
        await desk.replay()
        assert [row["attempt"] for row in await desk.sent()] == [3, 4]
        assert (await desk.inbox_row(event))["attempt"] == 4


async def test_two_people_who_replay_at_once_record_each_letter_once(shared_database_url: str) -> None:
    async with desk_at(shared_database_url) as desk, connected(shared_database_url) as (observer,):
        await desk.keep(*(letter_for() for _ in range(20)))
        async with desk.engine.begin() as first, desk.engine.begin() as second:
            mine = await replay(first, Selection(), ANNA, EXCHANGE)
            pid = await pid_of(second)
            theirs = asyncio.create_task(replay(second, Selection(), BERT, EXCHANGE))
            await waits_for_a_lock(observer, pid)
            await first.commit()
            assert await theirs == Replayed()
        assert len(mine.sendings) == len(await desk.sent()) == 20
        assert {letter.replay_count for letter in await desk.letters()} == {1}


async def test_a_replay_that_is_rolled_back_leaves_everything_as_it_was(shared_database_url: str) -> None:
    async with desk_at(shared_database_url) as desk:
        event = new_event()
        await desk.keep(letter_for(event))
        await desk.delivery(event, "dead")
        async with desk.engine.connect() as tx:
            assert (await replay(tx, Selection(), ANNA, EXCHANGE)).sendings
            await tx.rollback()
        (letter,) = await desk.letters()
        assert (letter.state, letter.replay_count) == ("open", 0)
        assert (await desk.inbox_row(event))["state"] == "dead"
        assert not await desk.sent()


async def test_a_rate_spreads_the_letters_over_time_in_their_order(shared_database_url: str) -> None:
    async with desk_at(shared_database_url) as desk:
        events = [new_event(f"order-{n}") for n in range(6)]
        for event in events:
            await desk.keep(letter_for(event))
        await desk.delivery(events[0], "dead")
        start = datetime.now(UTC)
        pace = Pace(start, per_second=4)
        first = await desk.replay(Selection(limit=4), pace)
        await desk.replay(Selection(), pace.after(len(first.sendings)))
        rows = await desk.sent("scheduled")
        assert [row["event_id"] for row in rows] == [event.id for event in events]
        assert [row["due_at"] for row in rows] == [start + timedelta(seconds=n / 4) for n in range(6)]
        assert not await desk.sent()
        assert (await desk.inbox_row(events[0]))["due_at"] == start
        (last,) = (await desk.letters())[-1:]
        (action,) = await desk.do(lambda tx: history(tx, last.id))
        assert action.due_at == start + timedelta(seconds=5 / 4)


async def test_a_plan_says_what_a_replay_would_do_and_changes_nothing(shared_database_url: str) -> None:
    async with desk_at(shared_database_url) as desk:
        done = new_event()
        await desk.keep(letter_for(), letter_for(done), letter_for(headers={}))
        await desk.delivery(done, "done")
        planned = await desk.do(lambda tx: plan(tx, Selection(), EXCHANGE))
        assert [(one.destination, one.effect_done) for one in planned.sendings] == [("sap", False), ("sap", True)]
        assert len(planned.refused) == 1
        assert {letter.state for letter in await desk.letters()} == {"open"}
        assert not await desk.sent()
        assert await desk.replay() == planned


async def test_batches_go_on_behind_what_was_refused_until_nothing_is_left(shared_database_url: str) -> None:
    async with desk_at(shared_database_url) as desk:
        await desk.keep(*(letter_for() if n % 2 else letter_for(headers={}) for n in range(BATCH + 10)))
        first = await desk.replay()
        assert len(first.sendings) + len(first.refused) == BATCH
        second = await desk.do(lambda tx: replay(tx, Selection(), ANNA, EXCHANGE, None, first.last))
        assert len(second.sendings) + len(second.refused) == 10
        assert await desk.do(lambda tx: replay(tx, Selection(), ANNA, EXCHANGE, None, second.last)) == Replayed()
        assert len(await desk.sent()) == (BATCH + 10) // 2


async def test_a_discarded_letter_is_restored_and_its_history_says_who_did_it_and_why(shared_database_url: str) -> None:
    async with desk_at(shared_database_url) as desk:
        await desk.keep(letter_for(), letter_for(queue="email"))
        await desk.do(lambda tx: discard(tx, Selection(queues=("sap",)), ANNA))
        assert [letter.state for letter in await desk.letters()] == ["discarded", "open"]
        assert not (await desk.replay(Selection(queues=("sap",)))).sendings
        await desk.do(lambda tx: restore(tx, Selection(), BERT))
        letters = await desk.letters()
        assert [letter.state for letter in letters] == ["open", "open"]
        kept = await desk.do(lambda tx: whole(tx, letters[0].id))
        assert kept is not None
        assert [(one.action, one.actor) for one in kept.actions] == [
            ("discard", "anna@desk"),
            ("restore", "bert@desk"),
        ]
        assert len((await desk.replay()).sendings) == 2


async def test_letters_of_one_subject_go_in_the_order_in_which_they_came(shared_database_url: str) -> None:
    async with desk_at(shared_database_url) as desk:
        events: list[Event] = [new_event("order-1") for _ in range(12)]
        for event in events:
            await desk.keep(letter_for(event, "sap" if event.id.int % 2 else "email"))
        await desk.replay()
        assert [row["event_id"] for row in await desk.sent()] == [event.id for event in events]
