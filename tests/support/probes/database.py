"""Ways into a test's database: plain asyncpg connections, and SQLAlchemy's as the product uses them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

import asyncpg
from asyncpg import Connection, Record
from sqlalchemy.ext.asyncio import AsyncEngine

from outbox.envelope import Event
from outbox.record import record
from runtime.database import make_engine
from runtime.settings import Settings
from tests.support.deadlines import ANSWER_SECONDS

Asyncpg: TypeAlias = "Connection[Record]"


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run one scenario in a loop of its own, within a time that only a hang exceeds."""

    async def main() -> None:
        async with asyncio.timeout(ANSWER_SECONDS):
            await scenario()

    asyncio.run(main())


@asynccontextmanager
async def connected(url: str, count: int = 1) -> AsyncIterator[list[Asyncpg]]:
    """`count` connections, closed afterwards."""
    async with AsyncExitStack() as stack:
        connections = []
        for _ in range(count):
            connection = await asyncpg.connect(url)
            stack.push_async_callback(connection.close)
            connections.append(connection)
        yield connections


@asynccontextmanager
async def engine_of(url: str) -> AsyncIterator[AsyncEngine]:
    """The product's own engine on this database."""
    engine = make_engine(Settings(database_url=url, amqp_url="amqp://127.0.0.1:1/"), "test")
    try:
        yield engine
    finally:
        await engine.dispose()


async def committed(engine: AsyncEngine, events: Sequence[Event], destination: str | None = None) -> None:
    """Record events in a transaction of their own."""
    async with engine.begin() as tx:
        await record(tx, events, destination)


async def waits_for_a_lock(observer: Asyncpg, pid: int) -> None:
    """Return once backend `pid` waits for another's lock: the signal that a statement has reached the conflict."""
    while not await observer.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0", pid):  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def pid_of(tx: Any) -> int:
    """The backend of a SQLAlchemy connection."""
    return int((await tx.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one())
