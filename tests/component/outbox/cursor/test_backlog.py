"""The reported backlog beside the events that the reader still has to read."""

from datetime import UTC, datetime

from outbox.cursor.backlog import Backlog, backlog, oldest_transaction
from outbox.cursor.log import ConfirmedPage, advance
from outbox.cursor.reader import Reader
from outbox.record import record
from tests.support.builders.events import new_event
from tests.support.probes.database import Asyncpg, committed, connected, engine_of

LEASE = """
INSERT INTO outbox.leases VALUES ('relay', 1, 'test', 'infinity') ON CONFLICT (name) DO UPDATE SET epoch = 1"""
AGED = "UPDATE outbox.events SET recorded_at = clock_timestamp() - make_interval(secs => $1) WHERE id = $2"


async def passed(connection: Asyncpg, reader: Reader) -> int:
    """Advance the cursor past one page; its events."""
    page = await reader.next_page()
    assert page is not None
    await advance(connection, 1, [ConfirmedPage(page, datetime.now(UTC), datetime.now(UTC))])
    return len(page.rows)


def aged(figure: Backlog, seconds: float) -> bool:
    return figure.oldest_seconds is not None and seconds <= figure.oldest_seconds < seconds + 60


async def test_before_the_first_page_all_is_backlog_and_after_the_last_nothing_is(shared_database_url: str) -> None:
    async with connected(shared_database_url, 2) as (own, other), engine_of(shared_database_url) as engine:
        await own.execute(LEASE)
        assert await backlog(own) == Backlog(0, None)
        await committed(engine, [new_event() for _ in range(7)])
        await own.execute(AGED, 100, 1)
        figure = await backlog(own)
        assert figure.events == 7
        assert aged(figure, 100)
        reader = Reader(other, 5)
        await reader.resume()
        assert await passed(own, reader) == 5
        await own.execute(AGED, 50, 6)  # the rest of the window
        figure = await backlog(own)
        assert figure.events == 2
        assert aged(figure, 50)
        assert await passed(own, reader) == 2
        assert await backlog(own) == Backlog(0, None)
        await committed(engine, [new_event()])  # begun since
        await own.execute(AGED, 25, 8)
        figure = await backlog(own)
        assert figure.events == 1
        assert aged(figure, 25)


async def test_a_late_commit_is_backlog_although_the_cursor_is_past_its_id(shared_database_url: str) -> None:
    async with connected(shared_database_url, 2) as (own, other), engine_of(shared_database_url) as engine:
        await own.execute(LEASE)
        reader = Reader(other, 5)
        async with engine.connect() as late:
            await record(late, [new_event()])
            await committed(engine, [new_event()])
            assert await passed(own, reader) == 1
            assert await backlog(own) == Backlog(0, None)  # an uncommitted event is no backlog
            await late.commit()
        await own.execute(AGED, 30, 1)
        figure = await backlog(own)
        assert figure.events == 1
        assert aged(figure, 30)
        assert await passed(own, reader) == 1
        assert await backlog(own) == Backlog(0, None)


async def test_ids_that_were_rolled_back_are_no_backlog(shared_database_url: str) -> None:
    async with connected(shared_database_url) as (own,), engine_of(shared_database_url) as engine:
        async with engine.connect() as tx:
            await record(tx, [new_event()])
            await tx.rollback()
        assert await backlog(own) == Backlog(0, None)


async def test_what_lies_at_or_below_an_adoptions_floor_is_no_backlog(database_url: str) -> None:
    async with connected(database_url) as (own,), engine_of(database_url) as engine:
        await committed(engine, [new_event() for _ in range(3)])
        await own.execute("INSERT INTO outbox.adoptions (system_identifier, floor_id, after_page) VALUES (1, 3, 0)")
        assert await backlog(own) == Backlog(0, None)
        await committed(engine, [new_event()])
        assert (await backlog(own)).events == 1


async def test_the_oldest_transaction_is_one_that_has_written(shared_database_url: str) -> None:
    async with connected(shared_database_url, 3) as (own, reading, writing):
        assert await oldest_transaction(own) is None
        async with reading.transaction():
            await reading.execute("SELECT count(*) FROM outbox.events")
            assert await oldest_transaction(own) is None
            async with writing.transaction():
                await writing.execute(f"SELECT pg_current_xact_id(), '{'x' * 300}'")
                found = await oldest_transaction(own)
                assert found is not None
                assert found.pid == writing.get_server_pid()
                assert found.running
                assert len(found.query) == 200
        assert await oldest_transaction(own) is None
