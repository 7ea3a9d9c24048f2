"""A commit that does not come to its end keeps its locks: it holds up who would take over, and no renewal."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from outbox.cursor.log import ConfirmedPage, advance
from outbox.cursor.reader import FencedError, Page, Reader
from outbox.dead_letters.unpublishable import dead_letter_unpublishable
from relay import leadership as module
from relay.leadership import Leadership
from tests.support.builders.events import new_event
from tests.support.probes.database import Asyncpg, committed, connected, engine_of, waits_for_a_lock

LONG_TERM = 10.0
NEVER = 3600.0
EXPIRY = "SELECT expires_at FROM outbox.leases"

Write = Callable[[Asyncpg, int, Page], Awaitable[int]]


async def move_cursor(connection: Asyncpg, epoch: int, page: Page) -> int:
    return await advance(connection, epoch, [ConfirmedPage(page, datetime.now(UTC), datetime.now(UTC))])


async def write_dead_letter(connection: Asyncpg, epoch: int, page: Page) -> int:
    return await dead_letter_unpublishable(connection, epoch, page.rows[0], "nowhere", "no such queue")


async def recorded_page(url: str, connection: Asyncpg) -> Page:
    """A page of one event."""
    reader = Reader(connection, 10)
    await reader.resume()
    async with engine_of(url) as engine:
        await committed(engine, [new_event()])
    page = await reader.next_page()
    assert page is not None
    return page


@pytest.mark.parametrize("write", [move_cursor, write_dead_letter])
async def test_a_write_of_a_term_that_is_not_committed_yet_lets_renewals_pass_and_holds_back_the_next_term(
    shared_database_url: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_AFTER", 0.1 / LONG_TERM)

    async with connected(shared_database_url, 4) as (cursor, lease, standby, observer):
        page = await recorded_page(shared_database_url, cursor)
        leadership = Leadership(lease, LONG_TERM, "the leader")
        assert await leadership.wait_to_lead(asyncio.Event()) == 1
        async with cursor.transaction():
            await write(cursor, 1, page)
            granted = await observer.fetchval(EXPIRY)
            keeping = asyncio.create_task(leadership.keep(1))
            while await observer.fetchval(EXPIRY) == granted:
                assert not keeping.done(), "a renewal waited for the commit"
            keeping.cancel()
            await asyncio.wait([keeping])
            await leadership.release()  # passes as well
            assert await observer.fetchval("SELECT expires_at < clock_timestamp() FROM outbox.leases")
            following = asyncio.create_task(Leadership(standby, NEVER, "the next").wait_to_lead(asyncio.Event()))
            await waits_for_a_lock(observer, standby.get_server_pid())
        assert await following == 2
        with pytest.raises(FencedError):
            await write(cursor, 1, page)


@pytest.mark.parametrize("write", [move_cursor, write_dead_letter])
async def test_a_write_of_a_term_waits_for_an_acquisition_that_is_not_committed_yet_and_is_refused(
    shared_database_url: str, write: Write
) -> None:
    async with connected(shared_database_url, 4) as (cursor, lease, standby, observer):
        page = await recorded_page(shared_database_url, cursor)
        leadership = Leadership(lease, NEVER, "the leader")
        assert await leadership.wait_to_lead(asyncio.Event()) == 1
        await leadership.release()
        async with standby.transaction():
            assert await Leadership(standby, NEVER, "the next").wait_to_lead(asyncio.Event()) == 2
            writing = asyncio.ensure_future(write(cursor, 1, page))
            await waits_for_a_lock(observer, cursor.get_server_pid())
        with pytest.raises(FencedError):
            await writing


async def test_of_relays_that_start_together_on_a_new_database_one_leads_and_none_fails(
    shared_database_url: str,
) -> None:
    async with connected(shared_database_url, 8) as connections:
        for _ in range(100):
            await connections[0].execute("DELETE FROM outbox.leases")
            stopping = asyncio.Event()
            waiting = [
                asyncio.create_task(Leadership(link, NEVER, f"relay {number}").wait_to_lead(stopping))
                for number, link in enumerate(connections)
            ]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            stopping.set()
            epochs = await asyncio.gather(*waiting)
            assert [epoch for epoch in epochs if epoch is not None] == [1]
