"""An order's messages are found with the page that each was published in; a long log costs them nothing."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.cursor import message_tracking
from outbox.cursor.cluster_adoption import adopt
from outbox.cursor.id_ranges import range_since
from outbox.cursor.log import ConfirmedPage, advance
from outbox.cursor.message_tracking import Message
from outbox.cursor.reader import Page, Reader
from outbox.envelope import new_event_id
from outbox.schedule import schedule
from tests.support.builders.events import new_event
from tests.support.probes.database import Asyncpg, connected, engine_of
from tests.support.probes.outbox_reader import insert, lead, pages

START = datetime(2026, 3, 1, tzinfo=UTC)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
FEW_BLOCKS = 1000  # the index paths into each segment, and for four messages some twenty probes of the log each


def sent_in(page: int) -> datetime:
    """When the test's page of this number was sent."""
    return START + timedelta(minutes=page)


class Log:
    """A reader whose pages are confirmed one after the other, each at a time of its own."""

    def __init__(self, connection: Asyncpg, page_size: int) -> None:
        self._connection = connection
        self._reader = Reader(connection, page_size)
        self.confirmed = 0

    async def take_over(self, epoch: int = 1) -> None:
        await lead(self._connection, epoch)
        await self._reader.resume()

    async def confirm(self, *read: Page, epoch: int = 1) -> None:
        for page in read:
            self.confirmed += 1
            sent = sent_in(self.confirmed)
            await advance(self._connection, epoch, [ConfirmedPage(page, sent, sent + timedelta(seconds=1))])

    async def confirm_all(self, epoch: int = 1) -> None:
        await self.confirm(*await pages(self._reader), epoch=epoch)

    async def next_page(self) -> Page:
        page = await self._reader.next_page()
        assert page is not None
        return page


async def tracked(database_url: str, subject: str = "s") -> list[Message]:
    async with engine_of(database_url) as engine, engine.connect() as tx:
        return await message_tracking.messages(tx, subject, LONG_AGO)


def page_numbers(messages: list[Message]) -> list[int | None]:
    """The pages of published messages, by the time at which the test sent each."""
    assert all(one.published for one in messages)
    return [None if one.sent_at is None else (one.sent_at - START) // timedelta(minutes=1) for one in messages]


async def test_each_event_of_a_subject_has_the_times_of_its_page(shared_database_url: str) -> None:
    async with connected(shared_database_url, 2) as (own, writer):
        log = Log(own, 2)
        await log.take_over()
        for subject in ("s", "other", "other", "s", "s", "other"):
            await insert(writer, subject)
        await log.confirm_all()
        await insert(writer, "s")

        *published, waiting = await tracked(shared_database_url)
        assert page_numbers(published) == [1, 2, 3]
        for message in published:
            assert message.confirmed_at is not None
            assert message.confirmed_at - (message.sent_at or START) == timedelta(seconds=1)
        assert (waiting.published, waiting.sent_at, waiting.confirmed_at) == (False, None, None)
        assert await tracked(shared_database_url, "another") == []


async def test_a_late_commit_has_its_own_page_and_not_the_one_whose_ids_it_lies_between(
    shared_database_url: str,
) -> None:
    async with connected(shared_database_url, 3) as (own, slow, fast):
        log = Log(own, 100)
        await log.take_over()
        await insert(fast, "other")
        await slow.execute("BEGIN")
        await insert(slow, "s")
        await insert(fast, "s")
        await log.confirm_all()
        (held_back,) = await tracked(shared_database_url)
        assert held_back.sent_at == sent_in(1)

        await slow.execute("COMMIT")
        assert [message.published for message in await tracked(shared_database_url)] == [False, True]
        await insert(fast, "s")
        await log.confirm_all()
        assert page_numbers(await tracked(shared_database_url)) == [2, 1, 2]


async def test_in_the_middle_of_a_window_what_follows_its_last_page_is_not_published(shared_database_url: str) -> None:
    async with connected(shared_database_url, 2) as (own, writer):
        log = Log(own, 1)
        await log.take_over()
        async with writer.transaction():
            for _ in range(3):
                await insert(writer, "s")
        await log.confirm(await log.next_page())
        await log.next_page()  # published perhaps, but not confirmed
        found = await tracked(shared_database_url)
        assert [(one.published, one.sent_at) for one in found] == [(True, sent_in(1)), (False, None), (False, None)]


async def test_a_page_past_its_retention_leaves_its_events_published_at_an_unknown_time(
    shared_database_url: str,
) -> None:
    async with connected(shared_database_url, 2) as (own, writer):
        log = Log(own, 1)
        await log.take_over()
        for _ in range(4):
            await insert(writer, "s")
        await log.confirm_all()
        await own.execute("DELETE FROM outbox.pages WHERE page <= (SELECT min(page) + 1 FROM outbox.pages)")
        assert page_numbers(await tracked(shared_database_url)) == [None, None, 3, 4]


async def test_gaps_in_the_pages_numbers_hide_nothing(shared_database_url: str) -> None:
    async with connected(shared_database_url, 2) as (own, writer):
        log = Log(own, 1)
        await log.take_over()
        for gap in range(12):
            await insert(writer, "s")
            await own.execute("SELECT nextval('outbox.page_ids') FROM generate_series(1, $1::int)", gap % 4)
            await log.confirm_all()
        assert page_numbers(await tracked(shared_database_url)) == list(range(1, 13))


async def test_after_an_adoption_each_event_has_the_page_of_the_cluster_whose_ids_it_bears(database_url: str) -> None:
    """The other cluster's ids are made to look like this one's, which is when a page could be mistaken."""

    async with connected(database_url, 2) as (own, writer):
        log = Log(own, 1)
        await log.take_over()
        for _ in range(3):
            await insert(writer, "s")
        await log.confirm(await log.next_page(), await log.next_page())
        await own.execute("UPDATE outbox.adoptions SET system_identifier = 4711")
        assert (adopted := await adopt(own)) is not None
        assert adopted.floor_id == 2
        assert [(one.published, one.sent_at) for one in await tracked(database_url)] == [
            (True, sent_in(1)),
            (True, sent_in(2)),
            (False, None),
        ]
        # A page of the other cluster whose window spans all ids that there will ever be takes nothing of ours.
        await own.execute("UPDATE outbox.pages SET new_snapshot = '9000000:9000000:', last_id = 99 WHERE page = 2")
        assert [one.published for one in await tracked(database_url)] == [True, True, False]
        await log.take_over(2)
        await insert(writer, "s")
        await log.confirm_all(2)
        assert page_numbers(await tracked(database_url)) == [1, 2, 3, 4]

        await own.execute("DELETE FROM outbox.pages WHERE page <= 2")
        assert page_numbers(await tracked(database_url)) == [None, None, 3, 4]


async def test_what_waits_for_its_time_and_who_holds_an_event_until_when(shared_database_url: str) -> None:
    due = datetime(2030, 1, 1, tzinfo=UTC)
    event = new_event("s")
    async with engine_of(shared_database_url) as engine, engine.begin() as tx:
        await schedule(tx, new_event("other"), "sap", due)
        await schedule(tx, event, "sap", due)
        (waiting,) = await message_tracking.scheduled_messages(tx, "s")
        assert (waiting.event_id, waiting.destination, waiting.due_at) == (event.id, "sap", due)

        await hold(tx, "sap", event.id, due)
        await hold(tx, "email", new_event_id(), due)
        assert await message_tracking.leases(tx, ["sap", "email"], [event.id]) == {"sap": due}


async def hold(tx: AsyncConnection, consumer: str, event_id: Any, until: datetime) -> None:
    statement = (
        "INSERT INTO outbox.deliveries "
        "(consumer, event_id, subject, state, generation, claims, lease_token, lease_until) "
        "VALUES (:consumer, :event_id, 's', 'running', 1, 1, gen_random_uuid(), :until)"
    )
    await tx.execute(text(statement), {"consumer": consumer, "event_id": event_id, "until": until})


HISTORY = """
INSERT INTO outbox.events (event_id, type, subject, source, time, data)
SELECT gen_random_uuid(), 'order.placed', gen_random_uuid()::text, 'urn:test', now(), '{}'
FROM generate_series(1, 150000)"""
# A page for each of as many windows, behind the real ones.
LOG = """
INSERT INTO outbox.pages (epoch, old_snapshot, new_snapshot, first_id, last_id, events, sent_at)
SELECT 1, format('%s:%s:', xmax + n, xmax + n)::pg_snapshot, format('%s:%s:', xmax + n + 1, xmax + n + 1)::pg_snapshot,
       last_id + n, last_id + n, 1, now()
FROM (SELECT pg_snapshot_xmax(new_snapshot)::text::bigint AS xmax, last_id FROM outbox.pages ORDER BY page DESC LIMIT 1)
  AS newest, generate_series(1, 150000) AS n"""


async def blocks(tx: AsyncConnection, statement: str, rows: int | None = None) -> int:
    """The blocks that a statement touches; it has to find so many rows."""
    values = {"subject": "s", **asdict(await range_since(tx, LONG_AGO))}
    plan = (await tx.execute(text("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement), values)).scalar_one()
    assert rows is None or plan[0]["Plan"]["Actual Rows"] == rows
    return int(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])


async def test_an_order_is_found_without_reading_the_events_or_the_log(database_url: str) -> None:
    async with (
        connected(database_url, 2) as (own, writer),
        engine_of(database_url) as engine,
        engine.connect() as tx,
    ):
        log = Log(own, 1)
        await log.take_over()
        for _ in range(3):
            await insert(writer, "s")
        await log.confirm_all()
        await own.execute(LOG)
        await own.execute(HISTORY)
        await insert(writer, "s")
        assert page_numbers((await message_tracking.messages(tx, "s", LONG_AGO))[:3]) == [1, 2, 3]
        statement = message_tracking._MESSAGES.text
        assert await blocks(tx, statement, rows=4) < FEW_BLOCKS
        await own.execute("ANALYZE outbox.events; ANALYZE outbox.pages")
        assert await blocks(tx, statement, rows=4) < FEW_BLOCKS
        assert await blocks(tx, "SELECT * FROM outbox.pages") > 2 * FEW_BLOCKS
