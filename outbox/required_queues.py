"""The queues that must exist before anything is published: copies of events for a missing queue would be lost.

`ops` replaces them by `topology apply`; `relay` reads them and stops publishing while one is missing.
"""

from collections.abc import Sequence

from asyncpg import Connection, Record

_REQUIRED = "SELECT queue FROM outbox.destinations ORDER BY queue"
_REPLACE = "INSERT INTO outbox.destinations (queue) SELECT unnest($1::text[])"


async def required(connection: "Connection[Record]") -> list[str]:
    """The required queues."""
    return [row["queue"] for row in await connection.fetch(_REQUIRED)]


async def replace(connection: "Connection[Record]", queues: Sequence[str]) -> None:
    """Make `queues` the required ones."""
    async with connection.transaction():
        await connection.execute("DELETE FROM outbox.destinations")
        await connection.execute(_REPLACE, list(queues))
