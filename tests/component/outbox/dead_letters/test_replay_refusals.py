"""A dead letter that cannot be sent again stays as it is, with the reason, and holds up none of the others."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from outbox.dead_letters.amqp_json import to_json
from outbox.dead_letters.queries import Selection, history
from outbox.dead_letters.replay import discard, restore
from outbox.dead_letters.store import NewDeadLetter
from outbox.envelope import MAX_DATA_BYTES, MAX_GENERATION, encode_headers
from tests.support.builders.dead_letters import ANNA, DeadLetterDatabase, dead_letter_database, dead_letter_for
from tests.support.builders.events import new_event


async def refusal_of(database: DeadLetterDatabase, dead_letter: NewDeadLetter) -> str:
    """Why the one dead letter is not sent; it stays open and nothing is recorded."""
    await database.keep(dead_letter)
    batch = await database.replay()
    assert not batch.sendings
    (refused,) = batch.refused
    (kept,) = await database.dead_letters()
    assert (kept.state, kept.replay_count, refused.dead_letter) == ("open", 0, kept)
    assert not await database.sent()
    assert not await database.do(lambda tx: history(tx, kept.id))
    return refused.why


async def test_a_delivery_that_runs_now_is_let_run(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database:
        event, until = new_event(), datetime.now(UTC) + timedelta(hours=1)
        await database.delivery(event, "running", lease_token=uuid4(), lease_until=until)
        assert await refusal_of(database, dead_letter_for(event)) == f"it runs now; try again after {until.isoformat()}"
        assert (await database.inbox_row(event))["lease_until"] == until


EVENT = new_event()
UNREADABLE: dict[str, tuple[NewDeadLetter, str]] = {
    "no headers": (dead_letter_for(headers={}), "specversion"),
    "a missing id": (
        dead_letter_for(headers={k: v for k, v in encode_headers(EVENT).items() if k != "cloudEvents:id"}),
        "id None is not a text",
    ),
    "a body over the limit": (dead_letter_for(body=b"x" * (MAX_DATA_BYTES + 1)), "over the limit"),
    "a lone surrogate": (
        dead_letter_for(headers=to_json(encode_headers(replace(EVENT, subject="x\ud800")))),
        "lone surrogate",
    ),
    "headers with an unknown tag": (dead_letter_for(headers={"cloudEvents:id": {"$when": 1}}), "no tag"),
    "a time that no outbox keeps": (
        dead_letter_for(headers=encode_headers(replace(EVENT, time=datetime(9999, 12, 31, 23, tzinfo=UTC)))),
        "outside the range that the outbox can keep",
    ),
    "the highest generation": (dead_letter_for(replace(EVENT, generation=MAX_GENERATION)), "is the highest"),
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_an_unreadable_dead_letter_is_refused_and_stays_open(shared_database_url: str, name: str) -> None:
    async with dead_letter_database(shared_database_url) as database:
        dead_letter, why = UNREADABLE[name]
        assert why in await refusal_of(database, dead_letter)


async def test_one_dead_letter_that_cannot_go_does_not_keep_the_others(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database:
        await database.keep(dead_letter_for(), dead_letter_for(headers={}), dead_letter_for())
        batch = await database.replay()
        assert (len(batch.sendings), len(batch.refused)) == (2, 1)
        assert [dead_letter.state for dead_letter in await database.dead_letters()] == ["replayed", "open", "replayed"]


async def test_an_event_older_than_the_inbox_is_neither_replayed_nor_restored(database_url: str) -> None:
    async with dead_letter_database(database_url) as database:
        event = new_event()
        await database.keep(dead_letter_for(event), dead_letter_for(event, "email"))
        await database.do(lambda tx: discard(tx, Selection(queues=("email",)), ANNA))
        await database.forget_oldest_month()
        (refused,) = (await database.replay()).refused
        assert "older than the inbox keeps events" in refused.why
        restored = await database.do(lambda tx: restore(tx, Selection(), ANNA))
        assert not restored.dead_letters
        assert [one.why for one in restored.refused] == [refused.why]
        assert [dead_letter.state for dead_letter in await database.dead_letters()] == ["open", "discarded"]


async def test_a_dead_letter_named_by_its_id_that_is_not_open_is_refused_and_not_passed_over(
    shared_database_url: str,
) -> None:
    async with dead_letter_database(shared_database_url) as database:
        await database.keep(dead_letter_for())
        (dead_letter,) = await database.dead_letters()
        named = Selection(ids=(dead_letter.id,))
        await database.replay(named)
        assert [one.why for one in (await database.replay(named)).refused] == ["it is replayed, not open"]
        discarded = await database.do(lambda tx: discard(tx, named, ANNA))
        assert [one.why for one in discarded.refused] == ["it is replayed, not open"]
        restored = await database.do(lambda tx: restore(tx, named, ANNA))
        assert [one.why for one in restored.refused] == ["it is replayed, not discarded"]
        assert len(await database.sent()) == 1


async def test_a_dead_letter_is_not_discarded_without_a_reason(shared_database_url: str) -> None:
    async with dead_letter_database(shared_database_url) as database:
        await database.keep(dead_letter_for())
        with pytest.raises(ValueError, match="needs a reason"):
            await database.do(lambda tx: discard(tx, Selection(), replace(ANNA, why="  ")))
        assert [dead_letter.state for dead_letter in await database.dead_letters()] == ["open"]
