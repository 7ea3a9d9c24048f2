"""Dead letters are stored once however often they come, counted for their alert, found, and grouped by cause."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from outbox.dead_letters.queries import Selection, groups, now, whole
from outbox.dead_letters.replay import discard, replay
from outbox.dead_letters.still_open import (
    OpenCount,
    OpenDeadLetter,
    open_by_queue,
    open_dead_letters_of,
    with_open_dead_letters,
)
from outbox.dead_letters.store import Cause, causes, store
from tests.support.builders.dead_letters import ANNA, EXCHANGE, dead_letter_database, dead_letter_for
from tests.support.builders.events import new_event
from tests.support.probes.database import connected, pid_of, waits_for_a_lock

DIED = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


async def test_a_dead_letter_is_kept_whole_and_its_copies_only_say_that_they_came(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database:
        odd = {"raw": {"$bytes": "/w=="}, "list": [1, {"deep": None}]}
        dead_letter = dead_letter_for(body=bytes(range(256)), headers=odd, properties={"priority": 9}, died_at=DIED)
        assert await database.keep(dead_letter, dead_letter) == [dead_letter]
        (first,) = await database.dead_letters()
        assert await database.keep(dead_letter) == []
        (again,) = await database.dead_letters()
        assert replace(again, last_seen_at=first.last_seen_at) == first
        assert again.last_seen_at > first.last_seen_at
        kept = await database.do(lambda tx: whole(tx, first.id))
        assert kept is not None
        assert (kept.body, kept.headers, kept.properties) == (dead_letter.body, odd, {"priority": 9})
        assert (kept.dead_letter.died_at, kept.error_trace, kept.actions) == (DIED, dead_letter.error_trace, [])


async def test_each_generation_and_each_queue_of_an_event_is_a_dead_letter_of_its_own(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database:
        event = new_event()
        dead_letters = [
            dead_letter_for(replace(event, generation=n), queue) for n in (1, 2) for queue in ("sap", "email")
        ]
        assert await database.keep(*dead_letters) == dead_letters


def test_a_message_without_an_id_is_known_by_itself_and_by_when_it_died() -> None:
    nameless = dead_letter_for(event_id=None, died_at=DIED, headers={"a": 1, "x-death": [{"count": 1}]})
    same = replace(nameless, headers={"a": 1, "x-death": [{"count": 2}], "x-delivery-count": 7})
    others = [
        replace(nameless, body=b"other"),
        replace(nameless, headers={"a": 2}),
        replace(nameless, properties={"message_id": "m"}),
        replace(nameless, died_at=DIED + timedelta(seconds=1)),
        replace(nameless, queue="email"),
    ]
    assert same.key == nameless.key
    assert len({dead_letter.key for dead_letter in (nameless, *others)}) == 6


async def test_garbage_with_an_events_id_does_not_prevent_the_events_own_dead_letter(
    shared_database_url: str,
) -> None:
    async with dead_letter_database(shared_database_url) as database:
        event = new_event()
        garbage = dead_letter_for(event, reason="undecodable", body=b"\xff")
        assert await database.keep(garbage) == [garbage]
        assert await database.keep(dead_letter_for(event)) == [dead_letter_for(event)]


async def test_a_late_copy_opens_neither_a_replayed_nor_a_discarded_dead_letter_again(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database:
        sent, thrown = dead_letter_for(), dead_letter_for(queue="email")
        await database.keep(sent, thrown)
        await database.do(lambda tx: replay(tx, Selection(queues=("sap",)), ANNA, EXCHANGE))
        await database.do(lambda tx: discard(tx, Selection(queues=("email",)), ANNA))
        assert await database.keep(sent, thrown) == []
        assert [dead_letter.state for dead_letter in await database.dead_letters()] == ["replayed", "discarded"]


async def test_a_dead_letter_of_a_replayed_event_that_dies_again_says_so(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database:
        event = new_event()
        for generation in (1, 2, 3):
            await database.keep(dead_letter_for(replace(event, generation=generation)))
            await database.do(lambda tx: replay(tx, Selection(), ANNA, EXCHANGE))
        await database.keep(dead_letter_for(replace(event, generation=4)), dead_letter_for(event, "email"))
        assert [dead_letter.replay_count for dead_letter in await database.dead_letters()] == [1, 2, 3, 3, 0]
        (group, other) = await database.do(lambda tx: groups(tx, Selection()))
        assert {(g.queue, g.dead_letters, g.subjects, g.replay_count) for g in (group, other)} == {
            ("sap", 1, 1, 3),
            ("email", 1, 1, 0),
        }


async def test_new_dead_letters_are_counted_for_the_alert_of_their_group_and_copies_are_not(
    shared_database_url: str,
) -> None:
    async with dead_letter_database(shared_database_url) as database:
        ones = [dead_letter_for() for _ in range(3)]
        other = dead_letter_for(fingerprint="another cause")
        await database.keep(*ones[:2])
        await database.keep(*ones, other)
        alerts = await database.sql(
            "SELECT fingerprint, dead_letters, dead_letter_id FROM outbox.dead_letter_alerts ORDER BY dead_letters"
        )
        newest = {dead_letter.fingerprint: dead_letter.id for dead_letter in await database.dead_letters()}
        assert [(row["fingerprint"], row["dead_letters"], row["dead_letter_id"]) for row in alerts] == [
            ("another cause", 1, newest["another cause"]),
            (ones[0].fingerprint, 3, newest[ones[0].fingerprint]),
        ]


async def test_two_collectors_with_the_same_dead_letter_make_one(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database, connected(shared_database_url) as (observer,):
        dead_letter = dead_letter_for()
        async with database.engine.begin() as first, database.engine.begin() as second:
            await store(first, [dead_letter])
            pid = await pid_of(second)
            storing = asyncio.create_task(store(second, [dead_letter]))
            await waits_for_a_lock(observer, pid)
            await first.commit()
            assert await storing == []
        assert len(await database.dead_letters()) == 1


async def test_dead_letters_are_found_by_each_thing_that_they_are_known_by(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database:
        a = dead_letter_for(new_event("order-a"))
        b = dead_letter_for(new_event("order-b", type="order.synced"), "email", fingerprint="f", reason="expired")
        c = dead_letter_for(new_event("order-b"), "unrouted", reason="unrouted")
        for dead_letter in (a, b, c):
            await database.keep(dead_letter)
        one, two, three = [dead_letter.id for dead_letter in await database.dead_letters()]
        seen_at = {dead_letter.id: dead_letter.first_seen_at for dead_letter in await database.dead_letters()}

        async def ids(**fields: object) -> list[int]:
            return [dead_letter.id for dead_letter in await database.dead_letters(Selection(**fields))]  # type: ignore[arg-type]

        assert await ids() == [one, two, three]
        assert await ids(ids=(three, one)) == [one, three]
        assert await ids(queues=("email", "unrouted")) == [two, three]
        assert await ids(types=("order.synced",)) == [two]
        assert await ids(subject="order-b") == [two, three]
        assert await ids(fingerprint="f") == [two]
        assert await ids(reason="unrouted", subject="order-b") == [three]
        assert await ids(since=seen_at[two]) == [two, three]
        assert await ids(until=seen_at[two]) == [one, two]
        assert await ids(limit=2) == [one, two]
        assert await ids(state="discarded") == []
        assert (await database.do(now)) > seen_at[three]


async def test_a_group_says_how_many_of_one_cause_there_are_and_what_the_newest_said(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database:
        for n in range(4):
            await database.keep(dead_letter_for(new_event(f"order-{n // 2}"), error=f"error {n}"))
        await database.keep(dead_letter_for(fingerprint="rare"))
        common, rare = await database.do(lambda tx: groups(tx, Selection()))
        assert (common.dead_letters, common.subjects, common.error) == (4, 2, "error 3")
        assert (rare.dead_letters, rare.fingerprint) == (1, "rare")
        assert common.first_seen_at < common.last_seen_at
        assert await database.do(lambda tx: groups(tx, Selection(limit=1))) == [common]
        assert await database.do(open_by_queue) == [OpenCount("sap", "rejected", 5, rare.first_seen_at)]


async def test_what_a_subject_waits_for_are_its_open_dead_letters(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database:
        await database.keep(dead_letter_for(new_event("order-a")), dead_letter_for(new_event("order-b"), "email"))
        (dead_letter, _) = await database.dead_letters()
        found = await database.do(lambda tx: open_dead_letters_of(tx, "order-a"))
        assert found == [
            OpenDeadLetter(dead_letter.id, "sap", "rejected", dead_letter.error, dead_letter.first_seen_at)
        ]
        await database.do(lambda tx: replay(tx, Selection(queues=("sap",)), ANNA, EXCHANGE))
        assert await database.do(lambda tx: open_dead_letters_of(tx, "order-a")) == []
        assert await database.do(lambda tx: with_open_dead_letters(tx, ["order-a", "order-b", "order-c"])) == {
            "order-b"
        }


async def test_the_inbox_says_why_a_delivery_was_dead_lettered_in_this_generation_only(
    shared_database_url: str,
) -> None:
    async with dead_letter_database(shared_database_url) as database:
        dead, alive = new_event(generation=3), new_event()
        cause = Cause("retries_exhausted", "SapError", "no answer", "Traceback", "SapError@sap:create")
        await database.delivery(
            dead,
            "dead",
            reason=cause.reason,
            error_class=cause.error_class,
            error=cause.error,
            error_trace=cause.error_trace,
            fingerprint=cause.fingerprint,
        )
        await database.delivery(alive, "done")
        wanted = [("sap", dead.id, 3), ("sap", dead.id, 2), ("email", dead.id, 3), ("sap", alive.id, 1)]
        assert await database.do(lambda tx: causes(tx, wanted)) == {("sap", dead.id, 3): cause}
        assert await database.do(lambda tx: causes(tx, [])) == {}
