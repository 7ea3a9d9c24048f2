"""The outbox as its reader sees it: rows to insert, pages to read and confirm, and a lease to read under."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from outbox.cursor.log import ConfirmedPage, advance
from outbox.cursor.reader import Page, Reader
from tests.support.probes.database import Asyncpg, connected

NOW = datetime(2026, 3, 1, tzinfo=UTC)
INSERT = """
INSERT INTO outbox.events (event_id, type, subject, source, time, data)
SELECT gen_random_uuid(), 'order.placed', $1, 'urn:test', now(), convert_to($2, 'UTF8') RETURNING id"""


async def insert(connection: Asyncpg, subject: str = "s", data: str = "{}") -> int:
    return int(await connection.fetchval(INSERT, subject, data))


async def lead(connection: Asyncpg, epoch: int = 1) -> None:
    await connection.execute(
        "INSERT INTO outbox.leases (name, epoch, holder, expires_at) VALUES ('relay', $1, 'test', 'infinity') "
        "ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch",
        epoch,
    )


@asynccontextmanager
async def outbox(url: str, writers: int = 1, page_size: int = 100) -> AsyncIterator[tuple[Reader, list[Asyncpg]]]:
    async with connected(url, writers + 1) as (own, *others):
        await lead(own)
        reader = Reader(own, page_size)
        await reader.resume()
        yield reader, others


async def drain(reader: Reader) -> list[int]:
    """The ids of every page until none is left."""
    return [row.id for page in await pages(reader) for row in page.rows]


async def pages(reader: Reader) -> list[Page]:
    read = []
    while (page := await reader.next_page()) is not None:
        read.append(page)
    return read


async def confirm(reader: Reader, read: Sequence[Page], epoch: int = 1) -> None:
    for page in read:
        await advance(reader._connection, epoch, [ConfirmedPage(page, NOW, NOW)])
