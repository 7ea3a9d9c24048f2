"""Expiry of the inbox's months, the partitions of `outbox.deliveries`: dropped when no event of them can come again.

The algorithm is `outbox.partitions.expiry`; this module says when a month may go. It is closed when its last moment is
past retention. It is spent when all of these hold:

- no row of it has changed within retention, or is still running or retrying;
- no scheduled message and no open dead letter has an id of the month or an older one;
- no such dead letter was replayed within retention;
- each dead delivery has its dead letter in the table, and an operator has decided about it.

While a month is detached, and after it is dropped, its ids have no partition: an event with such an id is refused with
a CheckViolation, so an expired event is never taken for a new one; `outbox.partitions.horizon` is the lowest id that
has one.
Called by `relay.maintenance`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from asyncpg import Connection, Record

from outbox.envelope import lowest_id
from outbox.partitions.expiry import LIMITS, ExpiryLimits, ExpiryResult, Partition, PartitionExpiry, limit

# Whether no row outside the month names an id below $1; by indexes, and the schedule is short. $2 is the retention.
_NOT_REFERENCED = """
SELECT NOT EXISTS (SELECT FROM outbox.dead_letters WHERE state = 'open' AND event_id < $1)
  AND NOT EXISTS (
    SELECT FROM outbox.dead_letters AS dead_letter
    JOIN outbox.dead_letter_actions AS act ON act.dead_letter_id = dead_letter.id
    WHERE dead_letter.event_id < $1 AND act.action = 'replay'
      AND greatest(act.acted_at, act.due_at) > clock_timestamp() - $2::interval)
  AND NOT EXISTS (SELECT FROM outbox.scheduled WHERE event_id < $1)"""

# Whether no row of the month is in work, has changed within the retention $1, or waits for an operator's decision.
_AT_REST = """
SELECT NOT EXISTS (
  SELECT FROM outbox.{month} AS delivery
  WHERE state IN ('running', 'retrying') OR changed_at > clock_timestamp() - $1::interval
     OR (state = 'dead' AND NOT EXISTS (
       SELECT FROM outbox.dead_letters AS dead_letter
       WHERE dead_letter.event_id = delivery.event_id AND dead_letter.queue = delivery.consumer
         AND dead_letter.state <> 'open')))"""


async def expire_month(
    connection: "Connection[Record]",
    retention: timedelta,
    now: datetime | None = None,
    limits: ExpiryLimits = LIMITS,
) -> ExpiryResult | None:
    """Drop the oldest month of the inbox if it is spent; None if it stays. Outside a transaction."""
    policy = _MonthPolicy(retention, now or datetime.now(UTC), limits)
    return await PartitionExpiry(connection, policy, limits).run_once()


@dataclass(frozen=True, slots=True)
class _MonthPolicy:
    """When a month may be dropped."""

    retention: timedelta
    now: datetime
    limits: ExpiryLimits
    table: str = "deliveries"
    # The scan may take an hour; the check after the detaching finds what the last writers brought.
    checks_after_writers: bool = False

    def age_key(self, partition: Partition) -> str:
        return partition.name  # deliveries_2026_01

    async def is_closed(self, _connection: "Connection[Record]", partition: Partition) -> bool:
        """Whether its last moment is past retention."""
        return _event_id(partition.past) <= lowest_id(self.now - self.retention)

    async def is_spent(self, connection: "Connection[Record]", partition: Partition) -> bool:
        """Whether none of its events can come again."""
        if not await connection.fetchval(_NOT_REFERENCED, _event_id(partition.past), self.retention):
            return False
        scan_seconds = self.limits.scan_seconds
        await limit(connection, self.limits.lock_seconds, scan_seconds)
        statement = _AT_REST.format(month=partition.name)
        return bool(await connection.fetchval(statement, self.retention, timeout=scan_seconds))


def _event_id(literal: str) -> UUID:
    return UUID(literal.strip("'"))
