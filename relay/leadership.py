"""One active relay per outbox: a lease row with an epoch.

The leader renews well within the term. One that dies, hangs or is cut off is replaced when the term is over, and the
epoch moves on; every cursor write carries the epoch, so a stale leader that wakes up advances nothing. A leader whose
renewal is not answered ends its reign before its term does. Who hands over says so by NOTIFY, once per reign and in no
writer's way; a standby that misses it looks a few times per term.
"""

import asyncio
import contextlib
import os
import secrets
import socket

from asyncpg import Connection, Record

from outbox.cursor.reader import FencedError
from relay.connections import DATABASE_ERRORS
from runtime.logging import get_logger

CHANNEL = "waybill_relay_lease"
RELEASE_SECONDS = 2.0

# Shares of the term.
RENEW_AFTER = 1 / 3
GIVE_UP_AFTER = 0.8
LOOK_EVERY = 1 / 6
ASK_AFTER_SLEEP = 1 / 2

# A standby looks without a lock on the row, which each write of the cursor shares.
_LEADER = """
SELECT holder, epoch FROM outbox.leases WHERE name = 'relay' AND expires_at >= clock_timestamp() AND holder <> $1"""

# The epoch is a key column, and the writes of a reign hold the row FOR KEY SHARE until their commit is on disk: what
# changes the epoch waits for them, so that a new reign begins behind the old one's last write, and what leaves it alone
# does not. An acquisition changes it always, also of a process's own lease, which it may take again: that comes from a
# session that ended without a word to Postgres. A renewal and a release never do.

# Not ON CONFLICT (name) DO UPDATE: of two that make the first row at once, one would fail on (name, epoch). Here it
# finds no row to update yet, and looks again.
_ACQUIRE = """
WITH made AS (
  INSERT INTO outbox.leases (name, epoch, holder, expires_at)
  VALUES ('relay', 1, $1, clock_timestamp() + make_interval(secs => $2))
  ON CONFLICT DO NOTHING RETURNING epoch),
taken AS (
  UPDATE outbox.leases
  SET epoch = epoch + 1, holder = $1, expires_at = clock_timestamp() + make_interval(secs => $2)
  WHERE name = 'relay' AND (expires_at < clock_timestamp() OR holder = $1) RETURNING epoch)
SELECT epoch FROM made UNION ALL SELECT epoch FROM taken"""

_RENEW = """
UPDATE outbox.leases SET expires_at = clock_timestamp() + make_interval(secs => $2)
WHERE name = 'relay' AND epoch = $1 RETURNING epoch"""

# By holder, not by epoch: the answer to an acquisition may have been lost.
_RELEASE = f"""
WITH released AS (
  UPDATE outbox.leases SET expires_at = '-infinity'
  WHERE name = 'relay' AND holder = $1 AND expires_at > '-infinity' RETURNING 1)
SELECT pg_notify('{CHANNEL}', '') FROM released"""  # noqa: S608 - CHANNEL is a constant

log = get_logger(__name__)


class RenewalError(Exception):
    """Postgres did not answer a renewal in time; the reign is over before the term is."""


def holder() -> str:
    """A name for this process that no other ever has; whoever looks at the lease sees where it runs."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Leadership:
    """The lease as one relay sees it, on a connection of its own so that a busy page never delays a renewal."""

    def __init__(self, connection: "Connection[Record]", lease_seconds: float, me: str) -> None:
        self._connection = connection
        self._lease_seconds = lease_seconds
        self._me = me
        self._renewed_at = 0.0
        self._answered = True

    async def wait_to_lead(self, stopping: asyncio.Event) -> int | None:
        """The epoch of this relay's reign once no other relay leads; None when stopped first.

        No statement is cancelled: a lease that was granted to a cancelled one would be held by nobody for a term.
        """
        freed = asyncio.Event()

        def wake(*_: object) -> None:
            freed.set()

        standing_by = False
        await self._connection.add_listener(CHANNEL, wake)
        while not stopping.is_set():
            freed.clear()
            leader = await self._connection.fetchrow(_LEADER, self._me, timeout=self._lease_seconds)
            if leader is None and (epoch := await self._acquire()) is not None:
                await self._connection.remove_listener(CHANNEL, wake)
                return epoch
            if leader is not None and not standing_by:
                standing_by = True
                log.info("standing_by", leader=leader["holder"], epoch=leader["epoch"])
            await _first_of(freed, stopping, self._lease_seconds * LOOK_EVERY)
        return None

    async def keep(self, epoch: int) -> None:
        """Renew until cancelled. Raises FencedError as soon as another relay leads, and RenewalError."""
        while True:
            # From when the last renewal was asked for, not answered: slow answers leave the next one no less time.
            due = max(self._renewed_at + self._lease_seconds * RENEW_AFTER, self._now())
            await asyncio.sleep(due - self._now())
            begun = self._now()
            until = self._renewed_at + self._lease_seconds * GIVE_UP_AFTER
            # A process that slept through all that time asks all the same: it may have been replaced, or not.
            if due < until <= begun:
                until = begun + self._lease_seconds * ASK_AFTER_SLEEP
            try:
                async with asyncio.timeout_at(until):
                    kept = await self._connection.fetchval(_RENEW, epoch, self._lease_seconds)
            except TimeoutError as error:
                self._answered = False
                raise RenewalError(f"no answer to the renewal of epoch {epoch}; is Postgres out of reach?") from error
            if kept is None:
                raise FencedError(f"another relay took over from epoch {epoch}")
            self._renewed_at = begun

    async def release(self) -> None:
        """Hand over at once, whatever is held. What gets no answer is not waited for: the lease runs out by itself."""
        if not self._answered:
            return
        with contextlib.suppress(*DATABASE_ERRORS):
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._connection.execute(_RELEASE, self._me)

    async def _acquire(self) -> int | None:
        self._renewed_at = self._now()
        epoch = await self._connection.fetchval(_ACQUIRE, self._me, self._lease_seconds, timeout=self._lease_seconds)
        return None if epoch is None else int(epoch)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


async def _first_of(freed: asyncio.Event, stopping: asyncio.Event, seconds: float) -> None:
    """Return when either is set or the time is over."""
    waiting = [asyncio.ensure_future(event.wait()) for event in (freed, stopping)]
    await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
