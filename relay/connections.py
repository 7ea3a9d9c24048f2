"""The relay's connections to Postgres: one per duty, so that no duty waits for another's statement."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Self, TypeAlias

import asyncpg
from asyncpg import Connection, Record

from outbox.cursor.reader import ONE_PLAN
from runtime.settings import Settings

CONNECT_SECONDS = 10.0
COMMAND_SECONDS = 30.0
CLOSE_SECONDS = 2.0

# What asyncpg raises for a lost session; InternalClientError if it is lost at the very start of a statement.
DATABASE_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

# For the lease: a renewal must not wait for a slow disk. A renewal that a crash of Postgres forgets is made again. A
# crash also ends every session of every relay, so an epoch that it forgets has no holder left.
NO_WAIT_FOR_DISK = {"synchronous_commit": "off"}


@contextlib.asynccontextmanager
async def connected(
    settings: Settings, name: str = "waybill-relay", options: Mapping[str, str] | None = None
) -> AsyncIterator["Connection[Record]"]:
    """A connection. It is closed at the end, or cut off if the body failed. Raises DATABASE_ERRORS."""
    connection = await asyncpg.connect(
        settings.database_url,
        timeout=CONNECT_SECONDS,
        command_timeout=COMMAND_SECONDS,
        server_settings={"application_name": name, "timezone": "UTC", **ONE_PLAN, **(options or {})},
    )
    try:
        yield connection
    except BaseException:
        connection.terminate()  # an orderly close would wait for its time limit if the server does not answer
        raise
    with contextlib.suppress(*DATABASE_ERRORS):
        await connection.close(timeout=CLOSE_SECONDS)


Database: TypeAlias = "Connection[Record]"


@dataclass(frozen=True, slots=True)
class Connections:
    """A session's connections, one per duty."""

    reader: Database
    cursor: Database
    lease: Database
    due: Database
    late: Database
    queues: Database
    partitions: Database

    @classmethod
    async def open(cls, stack: contextlib.AsyncExitStack, settings: Settings) -> Self:
        """Open all of them; `stack` closes them."""
        lease = await stack.enter_async_context(connected(settings, options=NO_WAIT_FOR_DISK))
        reader, cursor, due, late, queues, partitions = [
            await stack.enter_async_context(connected(settings)) for _ in range(6)
        ]
        return cls(reader, cursor, lease, due, late, queues, partitions)
