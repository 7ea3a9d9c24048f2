"""A statement that reads a whole window has more time than any other: it would be cut off at the same place for ever.

A lock on the table takes the place of a backlog of millions: the statement does not end before the lock does.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg

from outbox.cursor.cluster_adoption import adopt
from outbox.cursor.reader import WINDOW_SECONDS, Reader
from relay.connections import COMMAND_SECONDS
from relay.health.liveness import TURN_SECONDS
from tests.support.probes.database import Asyncpg, connected
from tests.support.probes.outbox_reader import confirm, insert, lead

LIMIT_SECONDS = 0.5  # of every other statement
T = TypeVar("T")


@asynccontextmanager
async def hurried(url: str) -> AsyncIterator[Asyncpg]:
    """A connection with a short time limit, as the relay's have one."""
    connection = await asyncpg.connect(url, command_timeout=LIMIT_SECONDS)
    try:
        yield connection
    finally:
        await connection.close()


async def outlasting(blocker: Asyncpg, table: str, work: Coroutine[Any, Any, T]) -> T:
    """What `work` comes to if it cannot read `table` until the limit is long over."""
    async with blocker.transaction():
        await blocker.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        task = asyncio.ensure_future(work)
        await asyncio.wait({task}, timeout=3 * LIMIT_SECONDS)
        if task.done():
            return await task
    return await task


async def next_ids(reader: Reader) -> list[int]:
    page = await reader.next_page()
    assert page is not None
    return [row.id for row in page.rows]


async def test_a_window_comes_through_that_takes_longer_than_the_connections_time_limit(
    shared_database_url: str,
) -> None:
    async with connected(shared_database_url) as (other,), hurried(shared_database_url) as own:
        await lead(other)
        ids = [await insert(other) for _ in range(6)]
        reader = Reader(own, 2)
        await reader.resume()
        assert await outlasting(other, "outbox.events", next_ids(reader)) == ids[:2]
        assert await outlasting(other, "outbox.events", next_ids(reader)) == ids[2:4]


async def test_so_does_the_place_in_the_middle_of_one(shared_database_url: str) -> None:
    async with connected(shared_database_url, 2) as (other, first), hurried(shared_database_url) as own:
        await lead(other)
        ids = [await insert(other) for _ in range(6)]
        reader = Reader(first, 2)
        page = await reader.next_page()
        assert page is not None
        await confirm(reader, [page])

        successor = Reader(own, 2)
        await outlasting(other, "outbox.events", successor.resume())
        assert await next_ids(successor) == ids[2:4]


async def test_so_does_the_place_where_another_cluster_begins(shared_database_url: str) -> None:
    async with connected(shared_database_url) as (other,), hurried(shared_database_url) as own:
        await insert(other)
        await other.execute("UPDATE outbox.adoptions SET system_identifier = 1")
        adopted = await outlasting(other, "outbox.pages", adopt(own))
        assert adopted is not None
        assert adopted.events == 1


def test_each_limit_leaves_room_for_the_one_within_it() -> None:
    """A relay that reads a backlog counts as alive: no limit may restart it before the statement's own limit."""
    assert COMMAND_SECONDS < WINDOW_SECONDS
    assert WINDOW_SECONDS + COMMAND_SECONDS <= TURN_SECONDS  # the snapshot is taken in the same turn
