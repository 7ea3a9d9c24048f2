"""A replay marks the letter, records its event once under a try of its own, and makes every older copy stale."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import RowMapping

from outbox import inbox
from outbox.dead_letters import NewLetter
from outbox.envelope import MAX_DATA_BYTES, MAX_TRY, Event, encode_headers
from outbox.inbox import Claim, Refusal, Refused
from outbox.letter_search import Selection, history, whole
from outbox.replay import discard, plan, replay, restore
from outbox.replay_plan import BATCH, Pace, Replayed
from outbox.wire_values import to_json
from tests.letters import ANNA, EXCHANGE, Desk, desk_at, letter_for
from tests.messages import new_event
from tests.postgres import connected, pid_of, run, waits_for_a_lock

BERT = replace(ANNA, actor="bert@desk")


async def sent(desk: Desk, table: str = "events") -> Sequence[RowMapping]:
    """What was recorded or scheduled, in order."""
    return await desk.sql(f"SELECT * FROM outbox.{table} ORDER BY id")


async def replay_all(desk: Desk, selection: Selection | None = None, pace: Pace | None = None) -> Replayed:
    return await desk.do(lambda tx: replay(tx, selection or Selection(), ANNA, EXCHANGE, pace))


async def refusal_of(desk: Desk, letter: NewLetter) -> str:
    """Why the one letter is not sent; it stays open and nothing is recorded."""
    await desk.keep(letter)
    batch = await replay_all(desk)
    assert not batch.sendings
    (refused,) = batch.refused
    (kept,) = await desk.letters()
    assert (kept.state, kept.replay_count, refused.letter) == ("open", 0, kept)
    assert not await sent(desk)
    assert not await desk.do(lambda tx: history(tx, kept.id))
    return refused.why


def test_a_replay_records_the_event_as_it_was_for_the_queue_it_died_in(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with desk_at(shared_database_url) as desk:
            event = new_event(attempt=4, traceparent="00-1-2-01")
            await desk.keep(letter_for(event))
            await desk.delivery(event, "dead", reason="retries_exhausted", error="no answer")
            (sending,) = (await replay_all(desk)).sendings
            assert (sending.event, sending.destination) == (replace(event, attempt=5), "sap")
            (row,) = await sent(desk)
            fields = ("type", "subject", "source", "time", "dataschema", "traceparent", "data")
            assert [row[name] for name in fields] == [getattr(event, name) for name in fields]
            assert (row["event_id"], row["destination"], row["attempt"]) == (event.id, "sap", 5)
            (letter,) = await desk.letters()
            assert (letter.state, letter.replay_count) == ("replayed", 1)
            (action,) = await desk.do(lambda tx: history(tx, letter.id))
            assert (action.action, action.actor, action.why) == ("replay", "anna@desk", "SAP is back")
            assert (action.attempt, action.due_at) == (5, None)

    run(scenario)


def test_a_replay_has_its_full_number_of_tries_and_older_copies_are_stale(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with desk_at(shared_database_url) as desk:
            event = new_event(attempt=4)
            await desk.keep(letter_for(event))
            await desk.delivery(event, "dead")
            await replay_all(desk)
            row = await desk.inbox_row(event)
            assert (row["state"], row["attempt"], row["first_attempt"], row["begun"]) == ("retrying", 5, 5, 0)
            for attempt in (1, 4):
                old = replace(event, attempt=attempt)
                refused = await desk.do(lambda tx, old=old: inbox.claim(tx, "sap", old, 60))  # type: ignore[misc]
                assert refused == Refused(Refusal.STALE)
            claimed = await desk.do(lambda tx: inbox.claim(tx, "sap", replace(event, attempt=5), 60))
            assert isinstance(claimed, Claim)

    run(scenario)


@pytest.mark.parametrize(
    ("state", "attempt", "more", "next_try"),
    [
        ("dead", 9, {}, 10),
        ("retrying", 7, {}, 8),
        ("running", 2, {"lease_token": uuid4(), "lease_until": datetime(2026, 1, 1, tzinfo=UTC), "begun": 3}, 3),
    ],
)
def test_the_try_of_a_replay_is_later_than_the_letters_and_the_inboxs(
    shared_database_url: str, state: str, attempt: int, more: dict[str, Any], next_try: int
) -> None:
    async def scenario() -> None:
        async with desk_at(shared_database_url) as desk:
            event = new_event(attempt=2)
            await desk.keep(letter_for(event))
            await desk.delivery(replace(event, attempt=attempt), state, **more)
            (sending,) = (await replay_all(desk)).sendings
            assert (sending.event.attempt, sending.effect_done) == (next_try, False)
            row = await desk.inbox_row(event)
            assert (row["state"], row["attempt"], row["begun"], row["lease_token"]) == ("retrying", next_try, 0, None)

    run(scenario)


def test_an_effect_that_is_done_is_not_done_again(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with desk_at(shared_database_url) as desk:
            event = new_event()
            await desk.keep(letter_for(event))
            await desk.delivery(event, "done")
            (sending,) = (await replay_all(desk)).sendings
            assert sending.effect_done
            assert (await desk.inbox_row(event))["state"] == "done"
            refused = await desk.do(lambda tx: inbox.claim(tx, "sap", sending.event, 60))
            assert refused == Refused(Refusal.DUPLICATE)

    run(scenario)


def test_a_delivery_that_runs_now_is_let_run(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with desk_at(shared_database_url) as desk:
            event, until = new_event(), datetime.now(UTC) + timedelta(hours=1)
            await desk.delivery(event, "running", lease_token=uuid4(), lease_until=until)
            assert await refusal_of(desk, letter_for(event)) == f"it runs now; try again after {until.isoformat()}"
            assert (await desk.inbox_row(event))["lease_until"] == until

    run(scenario)


@pytest.mark.parametrize("letter", [letter_for(queue="unrouted", reason="unrouted"), letter_for(queue=EXCHANGE)])
def test_what_did_not_die_in_a_queue_goes_to_the_exchange(shared_database_url: str, letter: NewLetter) -> None:
    async def scenario() -> None:
        async with desk_at(shared_database_url) as desk:
            await desk.keep(letter, letter_for(queue="test.nowhere", reason="unpublishable"))
            await replay_all(desk)
            assert [(row["destination"], row["attempt"]) for row in await sent(desk)] == [
                (None, 2),
                ("test.nowhere", 2),
            ]
            await desk.keep(replace(letter, attempt=2))
            await replay_all(desk, pace=Pace(datetime.now(UTC), 1))
            (row,) = await sent(desk, "scheduled")
            assert (row["destination"], row["attempt"]) == (None, 2)

    run(scenario)


EVENT = new_event()
UNREADABLE: dict[str, tuple[NewLetter, str]] = {
    "no headers": (letter_for(headers={}), "specversion"),
    "a missing id": (
        letter_for(headers={k: v for k, v in encode_headers(EVENT).items() if k != "cloudEvents:id"}),
        "id None is not a text",
    ),
    "a body over the limit": (letter_for(body=b"x" * (MAX_DATA_BYTES + 1)), "over the limit"),
    "a lone surrogate": (
        letter_for(headers=to_json(encode_headers(replace(EVENT, subject="x\ud800")))),
        "lone surrogate",
    ),
    "headers with a tag of nobody's": (letter_for(headers={"cloudEvents:id": {"$when": 1}}), "no tag"),
    "a time that no outbox keeps": (
        letter_for(headers=encode_headers(replace(EVENT, time=datetime(9999, 12, 31, 23, tzinfo=UTC)))),
        "none that the outbox can keep",
    ),
    "the last try that can be counted": (letter_for(replace(EVENT, attempt=MAX_TRY)), "was the last"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_letter_that_nobody_could_read_is_refused_and_stays_open(shared_database_url: str, name: str) -> None:
    async def scenario() -> None:
        async with desk_at(shared_database_url) as desk:
            letter, why = UNREADABLE[name]
            assert why in await refusal_of(desk, letter)

    run(scenario)


def test_one_letter_that_cannot_go_does_not_keep_the_others(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with desk_at(shared_database_url) as desk:
            await desk.keep(letter_for(), letter_for(headers={}), letter_for())
            batch = await replay_all(desk)
            assert (len(batch.sendings), len(batch.refused)) == (2, 1)
            assert [letter.state for letter in await desk.letters()] == ["replayed", "open", "replayed"]

    run(scenario)


def test_an_event_older_than_the_inbox_remembers_is_neither_replayed_nor_restored(database_url: str) -> None:
    async def scenario() -> None:
        async with desk_at(database_url) as desk:
            event = new_event()
            await desk.keep(letter_for(event), letter_for(event, "email"))
            await desk.do(lambda tx: discard(tx, Selection(queues=("email",)), ANNA))
            (first, *_) = await desk.sql(
                "SELECT inhrelid::regclass::text AS name FROM pg_inherits "
                "WHERE inhparent = 'outbox.deliveries'::regclass ORDER BY 1"
            )
            await desk.sql(f"ALTER TABLE outbox.deliveries DETACH PARTITION {first['name']}")
            (refused,) = (await replay_all(desk)).refused
            assert "older than what the inbox remembers" in refused.why
            restored = await desk.do(lambda tx: restore(tx, Selection(), ANNA))
            assert not restored.letters
            assert [one.why for one in restored.refused] == [refused.why]
            assert [letter.state for letter in await desk.letters()] == ["open", "discarded"]

    run(scenario)


def test_two_letters_of_one_event_get_tries_of_their_own_and_the_last_one_runs(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with desk_at(shared_database_url) as desk:
            event = new_event()
            await desk.keep(letter_for(event), letter_for(replace(event, attempt=2)))
            await desk.delivery(replace(event, attempt=2), "dead")
            await replay_all(desk)
            assert [row["attempt"] for row in await sent(desk)] == [3, 4]
            assert (await desk.inbox_row(event))["attempt"] == 4

    run(scenario)


def test_two_people_who_replay_at_once_record_each_letter_once(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with desk_at(shared_database_url) as desk, connected(shared_database_url) as (observer,):
            await desk.keep(*(letter_for() for _ in range(20)))
            async with desk.engine.begin() as first, desk.engine.begin() as second:
                mine = await replay(first, Selection(), ANNA, EXCHANGE)
                pid = await pid_of(second)
                theirs = asyncio.create_task(replay(second, Selection(), BERT, EXCHANGE))
                await waits_for_a_lock(observer, pid)
                await first.commit()
                assert await theirs == Replayed()
            assert len(mine.sendings) == len(await sent(desk)) == 20
            assert {letter.replay_count for letter in await desk.letters()} == {1}

    run(scenario)


def test_a_replay_that_is_rolled_back_leaves_everything_as_it_was(shared_database_url: str) -> None:
    async def scenario() -> None:
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
            assert not await sent(desk)

    run(scenario)


def test_a_rate_spreads_the_letters_over_time_in_their_order(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with desk_at(shared_database_url) as desk:
            events = [new_event(f"order-{n}") for n in range(6)]
            for event in events:
                await desk.keep(letter_for(event))
            await desk.delivery(events[0], "dead")
            start = datetime.now(UTC)
            pace = Pace(start, per_second=4)
            first = await replay_all(desk, Selection(limit=4), pace)
            await replay_all(desk, Selection(), pace.after(len(first.sendings)))
            rows = await sent(desk, "scheduled")
            assert [row["event_id"] for row in rows] == [event.id for event in events]
            assert [row["due_at"] for row in rows] == [start + timedelta(seconds=n / 4) for n in range(6)]
            assert not await sent(desk)
            assert (await desk.inbox_row(events[0]))["due_at"] == start
            (last,) = (await desk.letters())[-1:]
            (action,) = await desk.do(lambda tx: history(tx, last.id))
            assert action.due_at == start + timedelta(seconds=5 / 4)

    run(scenario)


def test_a_plan_says_what_a_replay_would_do_and_changes_nothing(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with desk_at(shared_database_url) as desk:
            done = new_event()
            await desk.keep(letter_for(), letter_for(done), letter_for(headers={}))
            await desk.delivery(done, "done")
            planned = await desk.do(lambda tx: plan(tx, Selection(), EXCHANGE))
            assert [(one.destination, one.effect_done) for one in planned.sendings] == [("sap", False), ("sap", True)]
            assert len(planned.refused) == 1
            assert {letter.state for letter in await desk.letters()} == {"open"}
            assert not await sent(desk)
            assert await replay_all(desk) == planned

    run(scenario)


def test_batches_go_on_behind_what_was_refused_until_nothing_is_left(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with desk_at(shared_database_url) as desk:
            await desk.keep(*(letter_for() if n % 2 else letter_for(headers={}) for n in range(BATCH + 10)))
            first = await replay_all(desk)
            assert len(first.sendings) + len(first.refused) == BATCH
            second = await desk.do(lambda tx: replay(tx, Selection(), ANNA, EXCHANGE, None, first.last))
            assert len(second.sendings) + len(second.refused) == 10
            assert await desk.do(lambda tx: replay(tx, Selection(), ANNA, EXCHANGE, None, second.last)) == Replayed()
            assert len(await sent(desk)) == (BATCH + 10) // 2

    run(scenario)


def test_a_letter_named_by_its_id_that_is_not_open_is_refused_and_not_passed_over(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with desk_at(shared_database_url) as desk:
            await desk.keep(letter_for())
            (letter,) = await desk.letters()
            named = Selection(ids=(letter.id,))
            await replay_all(desk, named)
            assert [one.why for one in (await replay_all(desk, named)).refused] == ["it is replayed, not open"]
            discarded = await desk.do(lambda tx: discard(tx, named, ANNA))
            assert [one.why for one in discarded.refused] == ["it is replayed, not open"]
            restored = await desk.do(lambda tx: restore(tx, named, ANNA))
            assert [one.why for one in restored.refused] == ["it is replayed, not discarded"]
            assert len(await sent(desk)) == 1

    run(scenario)


def test_a_discarded_letter_is_restored_and_its_history_says_who_did_it_and_why(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with desk_at(shared_database_url) as desk:
            await desk.keep(letter_for(), letter_for(queue="email"))
            await desk.do(lambda tx: discard(tx, Selection(queues=("sap",)), ANNA))
            assert [letter.state for letter in await desk.letters()] == ["discarded", "open"]
            assert not (await replay_all(desk, Selection(queues=("sap",)))).sendings
            await desk.do(lambda tx: restore(tx, Selection(), BERT))
            letters = await desk.letters()
            assert [letter.state for letter in letters] == ["open", "open"]
            kept = await desk.do(lambda tx: whole(tx, letters[0].id))
            assert kept is not None
            assert [(one.action, one.actor) for one in kept.actions] == [
                ("discard", "anna@desk"),
                ("restore", "bert@desk"),
            ]
            assert len((await replay_all(desk)).sendings) == 2

    run(scenario)


def test_a_letter_is_not_discarded_without_a_reason(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with desk_at(shared_database_url) as desk:
            await desk.keep(letter_for())
            with pytest.raises(ValueError, match="needs a reason"):
                await desk.do(lambda tx: discard(tx, Selection(), replace(ANNA, why="  ")))
            assert [letter.state for letter in await desk.letters()] == ["open"]

    run(scenario)


def test_letters_of_one_subject_go_in_the_order_in_which_they_came(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with desk_at(shared_database_url) as desk:
            events: list[Event] = [new_event("order-1") for _ in range(12)]
            for event in events:
                await desk.keep(letter_for(event, "sap" if event.id.int % 2 else "email"))
            await replay_all(desk)
            assert [row["event_id"] for row in await sent(desk)] == [event.id for event in events]

    run(scenario)
