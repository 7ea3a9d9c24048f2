"""Leader election: one active relay per outbox, by a lease row with an epoch. Used by `relay.session`.

              acquire: epoch + 1              renewal unanswered, or epoch taken, or stopped
    follower ─────────────────────▶ leader ──────────────────────────────────────────────────▶ term over
       ▲   checks every lease / 6     │ ▲                                                          │
       │   or on NOTIFY               └─┘ renew every lease / 3                                    │
       └──────────────────────────── release (NOTIFY), next session ◀──────────────────────────────┘

Trust window: a leader acts as leader until

    trusted_until = start of the last answered renewal + TRUST_FOR x lease      (TRUST_FOR = 0.8)

- The time counts from when the renewal was sent, not answered: Postgres set `expires_at` later than that.
- A leader whose renewal is unanswered at `trusted_until` ends its term, 0.2 x lease before another relay can start one.
- A leader that dies, hangs or is cut off is replaced when its lease expires.
- Each acquisition raises the epoch. Each write of the cursor carries the epoch of its term, so a stale leader that
  resumes after a pause advances nothing (FencedError). This fence, not the clock, is what keeps the cursor correct.
- A process that slept past `trusted_until` sends one more renewal, because no other relay may have taken over.
- A leader that hands over sends one NOTIFY per term, outside every writer's transaction. A standby that misses it
  checks a few times per lease anyway.
"""

import asyncio
import contextlib
import os
import secrets
import socket
from dataclasses import dataclass

from asyncpg import Connection, Record

from outbox.cursor.reader import FencedError
from relay.connections import DATABASE_ERRORS
from runtime.logging import get_logger

CHANNEL = "waybill_relay_lease"
RELEASE_SECONDS = 2.0

# Shares of the lease.
RENEW_AFTER = 1 / 3
TRUST_FOR = 0.8
CHECK_EVERY = 1 / 6
GRACE_AFTER_SLEEP = 1 / 2

# A standby reads without a lock on the row, because each write of the cursor locks it FOR KEY SHARE.
_LEADER = """
SELECT holder, epoch FROM outbox.leases WHERE name = 'relay' AND expires_at >= clock_timestamp() AND holder <> $1"""

# A lease that was released ends at -infinity, which has no age.
_LEASE = """
SELECT holder, expires_at >= clock_timestamp() AS in_force,
  CASE WHEN isfinite(expires_at) THEN extract(epoch FROM clock_timestamp() - expires_at)::float8 END AS over_seconds
FROM outbox.leases WHERE name = 'relay'"""

# The epoch is a key column. The cursor's writes of a term hold the row FOR KEY SHARE until their commit is on disk. A
# statement that changes the epoch waits for them, so a new term starts behind the last write of the old one; a
# statement that leaves the epoch alone does not wait. An acquisition always changes it, also when a process takes its
# own lease again after a session that ended without a release. A renewal and a release never change it.

# Not ON CONFLICT (name) DO UPDATE: of two relays that insert the first row at once, one would fail on (name, epoch).
# Here it finds no row to update yet, and checks again.
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
    """Postgres did not answer a renewal in time; the term ends before the lease expires."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease as Postgres has it. `over_seconds` is the time since its end, None if its holder released it."""

    holder: str
    in_force: bool
    over_seconds: float | None


async def read_lease(connection: "Connection[Record]") -> Lease | None:
    """The lease; None if no relay has ever led. Takes no lock. Called by `ops.doctor.relay`."""
    row = await connection.fetchrow(_LEASE)
    return None if row is None else Lease(*row)


def holder() -> str:
    """A name that no other process ever has. It shows in the lease where the leader runs."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Leadership:
    """One relay's side of the lease, on a connection of its own so that a busy page never delays a renewal."""

    def __init__(self, connection: "Connection[Record]", lease_seconds: float, me: str) -> None:
        self._connection = connection
        self._lease_seconds = lease_seconds
        self._me = me
        self._renewed_at = 0.0
        self._answered = True

    async def wait_to_lead(self, stopping: asyncio.Event) -> int | None:
        """Wait until no other relay leads and return the epoch of this relay's term; None if stopped first.

        No statement is cancelled: a lease granted to a cancelled acquisition would have no leader until it expires.
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
            await _first_of(freed, stopping, self._lease_seconds * CHECK_EVERY)
        return None

    async def keep(self, epoch: int) -> None:
        """Renew until cancelled.

        Raises FencedError once another relay leads, RenewalError if Postgres does not answer.
        """
        while True:
            # Counted from the start of the last renewal, not from its answer: slow answers do not delay the next one.
            due = max(self._renewed_at + self._lease_seconds * RENEW_AFTER, self._now())
            await asyncio.sleep(due - self._now())
            started_at = self._now()
            trusted_until = self._renewed_at + self._lease_seconds * TRUST_FOR
            # A process that slept past its trust window renews all the same: it may not have been replaced.
            if due < trusted_until <= started_at:
                trusted_until = started_at + self._lease_seconds * GRACE_AFTER_SLEEP
            try:
                async with asyncio.timeout_at(trusted_until):
                    kept = await self._connection.fetchval(_RENEW, epoch, self._lease_seconds)
            except TimeoutError as error:
                self._answered = False
                raise RenewalError(f"no answer to the renewal of epoch {epoch}; is Postgres out of reach?") from error
            if kept is None:
                raise FencedError(f"another relay took over from epoch {epoch}")
            self._renewed_at = started_at

    async def release(self) -> None:
        """Release the lease, whatever its epoch.

        An unanswered release is not waited for: the lease expires by itself.
        """
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
    """Return when either event is set or the time is over."""
    waiting = [asyncio.ensure_future(event.wait()) for event in (freed, stopping)]
    await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
