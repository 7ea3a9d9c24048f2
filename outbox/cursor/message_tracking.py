"""Where the messages of one subject are: scheduled, recorded, published and confirmed, or claimed by a consumer.

Called by `orders.tracking` for one order's timeline.

A message's page is found by halving the cursor's log, some twenty index probes however long the log is. Windows overlap
in ids, so a page's ids alone do not decide. But "the cursor had advanced past the message with this page"
(`outbox.cursor.position`) is false up to some page and true from there on, and that page is the message's own:

    page       41    42    43    44    45    46    47
    passed?    no    no    no    yes   yes   yes   yes
                                 └ the message's page

An adoption gives events above its floor new transaction ids. So each event is searched among the pages of the cluster
that its transaction id is from: those after the last adoption whose floor is below the event.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.cursor.id_ranges import range_since
from outbox.cursor.position import passed_with

# `low` and `high` close in on the first page with which the cursor had advanced past the event. Page numbers have gaps:
# a probe of a missing number reads the next page that exists. The bounds of both tables are parameters: see
# outbox/cursor/id_ranges.py.
_MESSAGES = text(f"""
WITH log AS NOT MATERIALIZED (SELECT * FROM outbox.pages WHERE page >= :first_page AND page <= :last_page)
SELECT e.event_id, e.type, e.destination, e.generation, e.recorded_at,
       e.id <= era.floor OR page.last_id IS NOT NULL AS published,
       CASE WHEN page.has_it THEN page.sent_at END AS sent_at,
       CASE WHEN page.has_it THEN page.confirmed_at END AS confirmed_at
FROM outbox.events AS e
CROSS JOIN LATERAL (
  SELECT coalesce(max(floor_id), 0) AS floor, coalesce(max(after_page) FILTER (WHERE floor_id < e.id), 0) AS above,
         coalesce(min(after_page) FILTER (WHERE floor_id >= e.id), 9223372036854775806) AS upto
  FROM outbox.adoptions) AS era
LEFT JOIN LATERAL (
  WITH RECURSIVE halving (low, high) AS (
    SELECT (SELECT min(page) FROM log WHERE page > era.above AND page <= era.upto),
           (SELECT max(page) FROM log WHERE page > era.above AND page <= era.upto) + 1
    UNION ALL
    SELECT CASE WHEN passed THEN low ELSE probe.page + 1 END, CASE WHEN passed THEN middle ELSE high END
    FROM halving
    CROSS JOIN LATERAL (SELECT (low + high) / 2 AS middle) AS half
    LEFT JOIN LATERAL (
      SELECT page, old_snapshot, new_snapshot, last_id FROM log
      WHERE page >= middle AND page < high ORDER BY page LIMIT 1) AS probe ON true
    CROSS JOIN LATERAL (
      SELECT probe.page IS NULL
        OR {passed_with("old_snapshot", "new_snapshot", "last_id", xid="e.xid", event="e.id")} AS passed) AS verdict
    WHERE low < high)
  SELECT sent_at, confirmed_at, last_id,
         first_id <= e.id AND last_id >= e.id AND NOT pg_visible_in_snapshot(e.xid, old_snapshot) AS has_it
  FROM log WHERE page >= (SELECT low FROM halving WHERE low >= high) AND page <= era.upto
  ORDER BY page LIMIT 1) AS page ON true
WHERE e.subject = :subject AND e.id >= :first_id AND e.id <= :last_id
ORDER BY e.id
""")  # noqa: S608 - a fragment of ours

_WAITING = text("""
SELECT event_id, type, destination, generation, due_at FROM outbox.scheduled
WHERE subject = :subject ORDER BY due_at, id
""")

_LEASES = text("""
SELECT consumer, lease_until FROM outbox.deliveries
WHERE consumer = ANY(CAST(:consumers AS text[])) AND event_id = ANY(CAST(:event_ids AS uuid[])) AND state = 'running'
""")


@dataclass(frozen=True, slots=True)
class Message:
    """One recorded event, or one that was recorded again for a single queue, its `destination`.

    `published`: the cursor has advanced past it, so the relay sent or dead-lettered it. `sent_at` and `confirmed_at`
    are its page's first publish and last confirm, also if it was dead-lettered. A published message without them is
    older than the cursor's log.
    """

    event_id: UUID
    type: str
    destination: str | None
    generation: int
    recorded_at: datetime
    published: bool = False
    sent_at: datetime | None = None
    confirmed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ScheduledMessage:
    """A message that is recorded when it is due."""

    event_id: UUID
    type: str
    destination: str | None
    generation: int
    due_at: datetime


async def messages(tx: AsyncConnection, subject: str, since: datetime) -> list[Message]:
    """The recorded messages of a subject that are within retention, oldest first; none may be older than `since`."""
    values = {"subject": subject, **asdict(await range_since(tx, since))}
    return [Message(**row) for row in (await tx.execute(_MESSAGES, values)).mappings()]


async def scheduled_messages(tx: AsyncConnection, subject: str) -> list[ScheduledMessage]:
    """The scheduled messages of a subject, the next one first."""
    return [ScheduledMessage(**row) for row in (await tx.execute(_WAITING, {"subject": subject})).mappings()]


async def leases(tx: AsyncConnection, consumers: Collection[str], event_ids: Collection[UUID]) -> dict[str, datetime]:
    """The end of the lease, for each of these consumers that runs one of these events."""
    values = {"consumers": list(consumers), "event_ids": list(event_ids)}
    return {row.consumer: row.lease_until for row in await tx.execute(_LEASES, values)}
