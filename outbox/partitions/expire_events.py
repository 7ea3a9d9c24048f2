"""Expiry of the segments of `outbox.events` and `outbox.pages`: wholly confirmed and past retention.

The algorithm is `outbox.partitions.expiry`; this module says when a segment may go. A segment of events is closed when
the sequence is past its range, and spent when the cursor has advanced past each of its rows (`outbox.cursor.position`),
the cursor is in another segment, and its youngest row is past retention. Called by `relay.maintenance`.
"""

from dataclasses import dataclass
from datetime import timedelta

from asyncpg import Connection, Record

from outbox.cursor.position import NOT_PASSED, WITH_CURSOR
from outbox.partitions.expiry import LIMITS, ExpiryLimits, ExpiryResult, Partition, PartitionExpiry
from outbox.segments import EVENTS, NEXT_ID, PAGES, Series

# $1 and $2 are the segment's bounds, $3 is the retention.
_EVENTS_SPENT = f"""{WITH_CURSOR}
SELECT NOT EXISTS (SELECT FROM cursor WHERE last_id >= $1 AND last_id < $2)
  AND NOT EXISTS (
    SELECT FROM (SELECT recorded_at FROM outbox.{{segment}} ORDER BY id DESC LIMIT 1) AS youngest
    WHERE recorded_at > clock_timestamp() - $3::interval)
  AND NOT EXISTS (SELECT FROM outbox.{{segment}} WHERE {NOT_PASSED})"""  # noqa: S608 - constants

# The newest page is the cursor. The others are needed by questions about the past, until their retention is over.
_PAGES_SPENT = """
SELECT coalesce((SELECT max(page) FROM outbox.pages) NOT BETWEEN $1 AND $2 - 1, false)
  AND NOT EXISTS (
    SELECT FROM (SELECT confirmed_at FROM outbox.{segment} ORDER BY page DESC LIMIT 1) AS youngest
    WHERE confirmed_at > clock_timestamp() - $3::interval)"""

_SPENT = {EVENTS.table: _EVENTS_SPENT, PAGES.table: _PAGES_SPENT}


async def expire_segment(
    connection: "Connection[Record]", retention: timedelta, series: Series = EVENTS, limits: ExpiryLimits = LIMITS
) -> ExpiryResult | None:
    """Drop the oldest segment of `series` if it is spent; None if it stays. Outside a transaction."""
    return await PartitionExpiry(connection, _SegmentPolicy(series, retention), limits).run_once()


@dataclass(frozen=True, slots=True)
class _SegmentPolicy:
    """When a segment may be dropped."""

    series: Series
    retention: timedelta
    checks_after_writers: bool = True

    @property
    def table(self) -> str:
        return self.series.table

    def age_key(self, partition: Partition) -> int:
        return _number(partition.first)

    async def is_closed(self, connection: "Connection[Record]", partition: Partition) -> bool:
        """Whether all its ids are given out."""
        next_id: int = await connection.fetchval(NEXT_ID.format(sequence=self.series.sequence))
        return _number(partition.past) <= next_id

    async def is_spent(self, connection: "Connection[Record]", partition: Partition) -> bool:
        """Whether it is wholly confirmed and past retention."""
        statement = _SPENT[self.table].format(segment=partition.name)
        bounds = _number(partition.first), _number(partition.past)
        return bool(await connection.fetchval(statement, *bounds, self.retention))


def _number(literal: str) -> int:
    return int(literal.strip("'"))
