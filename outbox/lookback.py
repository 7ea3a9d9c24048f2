"""What the outbox still knows of its past: where a moment's events begin, and which the cursor has not passed.

For whoever asks after orders, a few times an hour; the relay itself reads by `outbox.reader`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.pages import WITH_CURSOR

UNREAD_AT_MOST = 100_000
# Ids and times are taken in the same statement, but by two clocks' worth of luck: a clock that was set back, a writer
# that slept between the two.
_OUT_OF_ORDER = timedelta(minutes=10)

_IDS = text("SELECT coalesce(min(id), 0) AS first, coalesce(max(id), 0) AS last FROM outbox.events")

_RECORDED_AT = text("""
SELECT id, recorded_at FROM outbox.events WHERE id >= :id AND id <= :last ORDER BY id LIMIT 1
""")

# As outbox/expiry.py tells what is confirmed. The bound on xid is for the index.
_UNREAD = text(f"""{WITH_CURSOR}
SELECT subject, type, destination FROM outbox.events
WHERE id > (SELECT floor FROM cursor) AND id <= (SELECT last_value FROM outbox.event_ids)
  AND xid >= pg_snapshot_xmin((SELECT old FROM cursor))
  AND NOT pg_visible_in_snapshot(xid, (SELECT old FROM cursor))
  AND NOT (pg_visible_in_snapshot(xid, (SELECT new FROM cursor)) AND id <= (SELECT last_id FROM cursor))
LIMIT :limit
""")  # noqa: S608 - WITH_CURSOR is a constant


@dataclass(frozen=True, slots=True)
class Unread:
    """An event that the cursor has not passed. `destination` is its queue, None for all that listen."""

    subject: str
    type: str
    destination: str | None


async def first_id_since(tx: AsyncConnection, moment: datetime) -> int:
    """An id at or below that of the first event recorded since `moment`.

    By halving, some thirty index probes: the table has no index by time, and does not need one for anything else.
    """
    first, last = (await tx.execute(_IDS)).one()
    wanted = moment - _OUT_OF_ORDER
    low, high = int(first), int(last) + 1
    while low < high:
        middle = (low + high) // 2
        row = (await tx.execute(_RECORDED_AT, {"id": middle, "last": last})).one_or_none()
        if row is None or row.recorded_at >= wanted:
            high = middle
        else:
            low = row.id + 1
    return low


async def unread(tx: AsyncConnection, limit: int = UNREAD_AT_MOST) -> list[Unread]:
    """Events that the cursor has not passed, `limit` at most."""
    return [Unread(*row) for row in await tx.execute(_UNREAD, {"limit": limit})]
