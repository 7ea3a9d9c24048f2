"""What the outbox still knows of its past: where a moment's events begin, and which the cursor has not passed.

For whoever asks after orders, now and then; the relay itself reads by `outbox.cursor.reader`.

A plan opens and locks every segment that it may read, with its indexes, and a thousand segments are kept by a busy
shop: more locks than Postgres has room for. So ids are bounded by parameters, and plans are made for their values.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.cursor.log import WITH_CURSOR
from outbox.partitions.create import EVENTS, PAGES, Series

UNREAD_AT_MOST = 100_000
# Ids and times are taken in the same statement, but by two clocks' worth of luck: a clock that was set back, a writer
# that slept between the two.
_OUT_OF_ORDER = timedelta(minutes=10)
# A page's times are by the relay's clock. With more between the two, a page is passed over and its times are unknown.
_CLOCK_SKEW = timedelta(hours=1)

# No row that the transaction sees has a higher number: sequences are read after its snapshot is taken. The setting is
# for the rest of the transaction. A plan for any values, which Postgres makes at a statement's sixth execution if only
# to compare its cost, opens every segment.
_REACHED = text("""
SELECT set_config('plan_cache_mode', 'force_custom_plan', true), events.last_value AS event, pages.last_value AS page
FROM outbox.event_ids AS events, outbox.page_ids AS pages
""")

_BEGAN_AT = {
    EVENTS: text("SELECT recorded_at FROM outbox.events WHERE id >= :first AND id < :past ORDER BY id LIMIT 1"),
    PAGES: text("SELECT confirmed_at FROM outbox.pages WHERE page >= :first AND page < :past ORDER BY page LIMIT 1"),
}

_RECORDED_AT = text("""
SELECT id, recorded_at FROM outbox.events WHERE id >= :id AND id <= :last ORDER BY id LIMIT 1
""")

# As outbox/partitions/expire_events.py tells what is confirmed. The bound on xid is for the index.
_UNREAD = text(f"""{WITH_CURSOR}
SELECT subject, type, destination FROM outbox.events
WHERE id > (SELECT floor FROM cursor) AND id >= :first_id AND id <= :last_id
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


@dataclass(frozen=True, slots=True)
class Span:
    """The first and last id of events, and number of pages, to look between."""

    first_id: int
    last_id: int
    first_page: int
    last_page: int


async def span_since(tx: AsyncConnection, moment: datetime) -> Span:
    """Where all events recorded since `moment` and their pages are: from the begin of a segment to the newest.

    From here on plans of this transaction are made for the values at hand.
    """
    reached = (await tx.execute(_REACHED)).one()
    first_id = await _begin_of(tx, EVENTS, reached.event, moment - _OUT_OF_ORDER)
    first_page = await _begin_of(tx, PAGES, reached.page, moment - _CLOCK_SKEW)
    return Span(first_id, reached.event, first_page, reached.page)


async def _begin_of(tx: AsyncConnection, series: Series, last: int, moment: datetime) -> int:
    """The first number of the newest segment that was begun before `moment`.

    Looked for from the newest one back, in steps that double, and then by halving: so many probes as the segments
    since have digits, each of one segment, however many are kept. One without a row is passed over.
    """
    low, high, step = 0, last // series.size + 1, 1
    while high - low > 1:
        middle = max(high - step, (low + high) // 2)
        bounds = {"first": middle * series.size, "past": (middle + 1) * series.size}
        began_at = (await tx.execute(_BEGAN_AT[series], bounds)).scalar_one_or_none()
        if began_at is not None and began_at < moment:
            low = middle
        else:
            high, step = middle, 2 * step
    return low * series.size


async def first_id_since(tx: AsyncConnection, moment: datetime) -> int:
    """An id at or below that of the first event recorded since `moment`.

    By halving, some thirty index probes: the table has no index by time, and does not need one for anything else.
    """
    span = await span_since(tx, moment)
    wanted = moment - _OUT_OF_ORDER
    low, high = span.first_id, span.last_id + 1
    while low < high:
        middle = (low + high) // 2
        row = (await tx.execute(_RECORDED_AT, {"id": middle, "last": span.last_id})).one_or_none()
        if row is None or row.recorded_at >= wanted:
            high = middle
        else:
            low = row.id + 1
    return low


async def unread(tx: AsyncConnection, moment: datetime, limit: int = UNREAD_AT_MOST) -> list[Unread]:
    """Events recorded since `moment`, and perhaps older ones, that the cursor has not passed; `limit` at most."""
    span = await span_since(tx, moment)
    values = {"first_id": span.first_id, "last_id": span.last_id, "limit": limit}
    return [Unread(*row) for row in await tx.execute(_UNREAD, values)]
