"""One active relay per outbox: a lease row with an epoch.

The leader renews well within the term. One that dies, hangs or is cut off is replaced when the term is over, and the
epoch moves on; every cursor write carries the epoch, so a stale leader that wakes up advances nothing.
"""

import asyncio
import os
import socket

from asyncpg import Connection, Record

from outbox.reader import FencedError

_ACQUIRE = """
INSERT INTO outbox.leases AS l (name, epoch, holder, expires_at)
VALUES ('relay', 1, $1, clock_timestamp() + make_interval(secs => $2))
ON CONFLICT (name) DO UPDATE SET epoch = l.epoch + 1, holder = excluded.holder, expires_at = excluded.expires_at
WHERE l.expires_at < clock_timestamp()
RETURNING epoch"""

_RENEW = """
UPDATE outbox.leases SET expires_at = clock_timestamp() + make_interval(secs => $2)
WHERE name = 'relay' AND epoch = $1 RETURNING epoch"""

_RELEASE = "UPDATE outbox.leases SET expires_at = '-infinity' WHERE name = 'relay' AND epoch = $1"


def holder() -> str:
    """Who this process is, for whoever looks at the lease."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Leadership:
    """The lease as one relay sees it, on a connection of its own so that a busy page never delays a renewal."""

    def __init__(self, connection: "Connection[Record]", lease_seconds: float) -> None:
        self._connection = connection
        self._lease_seconds = lease_seconds
        self._me = holder()

    async def wait_to_lead(self) -> int:
        """Return the epoch of this relay's reign once no other relay leads."""
        while True:
            epoch = await self._connection.fetchval(_ACQUIRE, self._me, self._lease_seconds)
            if epoch is not None:
                return int(epoch)
            await asyncio.sleep(self._lease_seconds / 6)

    async def keep(self, epoch: int) -> None:
        """Renew until cancelled. Raises FencedError as soon as another relay leads."""
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            if await self._connection.fetchval(_RENEW, epoch, self._lease_seconds) is None:
                raise FencedError(f"another relay took over from epoch {epoch}")

    async def release(self, epoch: int) -> None:
        """Hand over at once."""
        await self._connection.execute(_RELEASE, epoch)
