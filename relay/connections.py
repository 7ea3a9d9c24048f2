"""The relay's connections to Postgres: one per duty, so that none waits for another's statement."""

import contextlib
from collections.abc import AsyncIterator, Mapping

import asyncpg
from asyncpg import Connection, Record

from outbox.cursor.reader import ONE_PLAN
from runtime.settings import Settings

CONNECT_SECONDS = 10.0
COMMAND_SECONDS = 30.0
CLOSE_SECONDS = 2.0

# What asyncpg raises for a session that is gone; InternalClientError when it goes at the very start of a statement.
DATABASE_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

# For the lease: a renewal must not wait for a slow disk, and one that a crash of Postgres forgets is made again.
# A crash ends every session of a relay as well, so an epoch that it forgets has no holder left.
NO_WAIT_FOR_DISK = {"synchronous_commit": "off"}


@contextlib.asynccontextmanager
async def connected(
    settings: Settings, name: str = "waybill-relay", options: Mapping[str, str] | None = None
) -> AsyncIterator["Connection[Record]"]:
    """A connection, closed at the end, or cut off where what it was used for failed. Raises DATABASE_ERRORS."""
    connection = await asyncpg.connect(
        settings.database_url,
        timeout=CONNECT_SECONDS,
        command_timeout=COMMAND_SECONDS,
        server_settings={"application_name": name, "timezone": "UTC", **ONE_PLAN, **(options or {})},
    )
    try:
        yield connection
    except BaseException:
        connection.terminate()  # whoever does not answer would let a polite end wait for its time limit
        raise
    with contextlib.suppress(*DATABASE_ERRORS):
        await connection.close(timeout=CLOSE_SECONDS)
