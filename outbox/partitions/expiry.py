"""Partition expiry: the oldest partition of a table is detached and dropped once its rows are not needed any more.

One algorithm for every table; when its rows are not needed is a policy: `expire_events` for the segments of `events`
and `pages`, `expire_inbox` for the months of `deliveries`. `relay.maintenance` calls them, one partition per call.

Detaching concurrently makes no other transaction wait. The price: new statements do not see the partition from the
moment at which its detaching begins, so a row that is needed must not be in it, nor come into it any more.

             closed, spent,        COMMENT          DETACH             spent,
             writers gone          'expired: …'     CONCURRENTLY       checked again
    attached ──────────────▶ marked ──────▶ detaching ──────▶ detached ─────────▶ dropped
       ▲                                        │                │
       │                                        │ FINALIZE,      │ a row came in after the check
       │                                        ▼ if interrupted ▼
       └──────────────────────────── ATTACH again, mark removed ─┘

- *closed*: no new row can belong to the partition.
- *writers gone*: every transaction that may still bring one has ended; later ones write elsewhere.
- *spent*: no row in it is needed any more.
- *marked*: a comment on the table says that it was found so. Only a marked partition is ever dropped, so a partition
  that an operator detached is left alone.

A call that is cut short at any point leaves one of these states, and the next call continues from it. An open
transaction of others postpones the expiry and is never disturbed.
"""

import asyncio
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from asyncpg import Connection, LockNotAvailableError, QueryCanceledError, Record

if TYPE_CHECKING:
    from _typeshed import SupportsRichComparison

_MARK = "expired: "
_BOUNDS = re.compile(r"FROM \((MINVALUE|'[^']+')\) TO \(('[^']+')\)")

# The partitions, and those that were marked and are detached already. The bounds of a detached one are in its mark.
_PARTITIONS = f"""
SELECT relname AS name, inhrelid IS NOT NULL AS attached, coalesce(inhdetachpending, false) AS pending,
       coalesce(comment LIKE '{_MARK}%', false) AS marked, coalesce(pg_get_expr(relpartbound, c.oid), comment) AS bounds
FROM pg_class AS c LEFT JOIN pg_inherits ON inhrelid = c.oid, obj_description(c.oid, 'pg_class') AS comment
WHERE relnamespace = 'outbox'::regnamespace AND relkind = 'r'
  AND (inhparent = $1::text::regclass
       OR (inhrelid IS NULL AND relname ^@ $2 AND coalesce(comment LIKE '{_MARK}%', false)))"""  # noqa: S608 - a constant

# The transactions that may still bring a row: an INSERT holds this lock on the parent from before it takes an id until
# it is committed.
_WRITERS = """
SELECT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND relation = $1::text::regclass AND mode = 'RowExclusiveLock'
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


@dataclass(frozen=True, slots=True)
class ExpiryLimits:
    """How long one expiry may wait and work."""

    # The longest wait for any one transaction of others: for its lock, and for open writers to end.
    lock_seconds: float = 5.0
    # The longest statement. Detaching waits for one open transaction after the other, each within `lock_seconds`.
    statement_seconds: float = 20.0
    # The longest reading of a whole partition. A month of a busy shop's inbox is a hundred million rows, read from end
    # to end once or twice in its life.
    scan_seconds: float = 3600.0
    # The pause between two queries for open writers.
    poll_seconds: float = 0.05


LIMITS = ExpiryLimits()


class ExpiryOutcome(Enum):
    """How an expiry ended that found a partition to drop; the value is the log event."""

    DROPPED = "segment_dropped"
    POSTPONED = "segment_postponed"  # a transaction of others is open; the next call continues
    ATTACHED_AGAIN = "segment_attached_again"  # a row came in after the check, against all expectation
    FINALIZED = "segment_finalized"  # an operator's interrupted detaching was completed; the table stays


@dataclass(frozen=True, slots=True)
class ExpiryResult:
    """The partition that an expiry worked on, and how that ended."""

    partition: str
    outcome: ExpiryOutcome


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of ids from `first` up to, and without, `past`, both as SQL literals."""

    name: str
    first: str
    past: str
    attached: bool
    pending: bool  # its detaching has begun and is not complete
    marked: bool

    @property
    def bounds(self) -> str:
        """The bounds as DDL has them."""
        return f"FROM ({self.first}) TO ({self.past})"


class ExpiryPolicy(Protocol):
    """When a table's partition may be dropped."""

    @property
    def table(self) -> str:
        """The partitioned table, in the schema `outbox`."""

    @property
    def checks_after_writers(self) -> bool:
        """Whether `is_spent` is cheap enough to be repeated between the writers' end and the detaching."""

    def age_key(self, partition: Partition) -> "SupportsRichComparison":
        """Sorts partitions from the oldest to the newest."""

    async def is_closed(self, connection: "Connection[Record]", partition: Partition) -> bool:
        """Whether no new row can belong to the partition."""

    async def is_spent(self, connection: "Connection[Record]", partition: Partition) -> bool:
        """Whether no row in the partition is needed any more."""


@dataclass(frozen=True, slots=True)
class PartitionExpiry:
    """The expiry of one table's partitions, on a connection outside a transaction."""

    connection: "Connection[Record]"
    policy: ExpiryPolicy
    limits: ExpiryLimits = LIMITS

    async def run_once(self) -> ExpiryResult | None:
        """Drop the oldest partition if it may be dropped; None if it stays. The last partition always stays.

        Waits at most `lock_seconds` for any one transaction of others.
        """
        await limit(self.connection, self.limits.lock_seconds, self.limits.statement_seconds)
        partitions = await self._partitions()
        if len(partitions) < 2:  # the last one says where the next one begins
            return None
        try:
            outcome = await self._take_up(partitions[0])
        except (LockNotAvailableError, QueryCanceledError):
            outcome = ExpiryOutcome.POSTPONED
        return None if outcome is None else ExpiryResult(partitions[0].name, outcome)

    async def _partitions(self) -> list[Partition]:
        """The partitions, oldest first. Only one at a time can be half detached: it comes before all."""
        table = self.policy.table
        rows = await self.connection.fetch(_PARTITIONS, f"outbox.{table}", f"{table}_")
        partitions = [Partition(row["name"], *bounds_of(row["bounds"]), *row[1:4]) for row in rows]
        partitions.sort(key=self.policy.age_key)
        return sorted(partitions, key=lambda partition: not partition.pending)

    async def _take_up(self, partition: Partition) -> ExpiryOutcome | None:
        """Continue from the state in which the last call left the partition; None if it stays."""
        if partition.pending:
            await self._alter(f"DETACH PARTITION outbox.{partition.name} FINALIZE")
            return await self._drop(partition) if partition.marked else ExpiryOutcome.FINALIZED
        if not partition.attached:
            return await self._drop(partition)
        if not (await self.policy.is_closed(self.connection, partition) and await self._is_spent(partition)):
            return None
        # Detaching would wait for the writers as well, but with the partition invisible to everybody else.
        if not await self._writers_gone():
            return ExpiryOutcome.POSTPONED
        if self.policy.checks_after_writers and not await self._is_spent(partition):
            return None
        await self._comment(partition, f"{_MARK}{partition.bounds}")
        await self._alter(f"DETACH PARTITION outbox.{partition.name} CONCURRENTLY")
        return await self._drop(partition)

    async def _drop(self, partition: Partition) -> ExpiryOutcome:
        """Drop a detached partition, after a last check: no transaction writes to it any more."""
        if await self._is_spent(partition):
            await self.connection.execute(f"DROP TABLE outbox.{partition.name}")
            return ExpiryOutcome.DROPPED
        await self._alter(f"ATTACH PARTITION outbox.{partition.name} FOR VALUES {partition.bounds}")
        await self._comment(partition, None)
        return ExpiryOutcome.ATTACHED_AGAIN

    async def _is_spent(self, partition: Partition) -> bool:
        """As the policy says. A policy that reads the whole partition may raise the limit of statements meanwhile."""
        spent = await self.policy.is_spent(self.connection, partition)
        await limit(self.connection, self.limits.lock_seconds, self.limits.statement_seconds)
        return spent

    async def _writers_gone(self) -> bool:
        """Whether every transaction that writes to the table now ends in time. Later ones take later ids."""
        deadline = asyncio.get_running_loop().time() + self.limits.lock_seconds
        waited_for = await self._writing()
        while waited_for := waited_for & await self._writing():
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(self.limits.poll_seconds)
        return True

    async def _writing(self) -> set[str]:
        rows = await self.connection.fetch(_WRITERS, f"outbox.{self.policy.table}")
        return {row["virtualtransaction"] for row in rows}

    async def _alter(self, change: str) -> None:
        await self.connection.execute(f"ALTER TABLE outbox.{self.policy.table} {change}")

    async def _comment(self, partition: Partition, comment: str | None) -> None:
        quoted = "NULL" if comment is None else "'" + comment.replace("'", "''") + "'"
        await self.connection.execute(f"COMMENT ON TABLE outbox.{partition.name} IS {quoted}")


async def limit(connection: "Connection[Record]", lock_seconds: float, statement_seconds: float) -> None:
    """Set a connection's limits for locks and statements."""
    await connection.execute(
        f"SET lock_timeout = {round(lock_seconds * 1000)}; SET statement_timeout = {round(statement_seconds * 1000)}"
    )


def bounds_of(description: str) -> tuple[str, str]:
    """Both bounds as SQL literals, from a partition's description or its mark."""
    found = _BOUNDS.search(description)
    assert found is not None, f"a partition has one range: {description!r}"
    return found[1], found[2]
