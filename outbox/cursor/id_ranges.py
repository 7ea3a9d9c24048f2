"""The range of ids and pages since a point in time, and the events in it that the cursor has not advanced past.

For occasional questions about orders: called by `orders.audit` and `outbox.cursor.message_tracking`. The relay itself
reads by `outbox.cursor.reader`.

A plan opens and locks every segment that it may read, with its indexes. A busy shop keeps a thousand segments: more
locks than Postgres has room for. So ids are bounded by parameters, and plans are made for their values.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.cursor.position import NOT_PASSED, WITH_CURSOR
from outbox.segments import EVENTS, PAGES, Series

NOT_PASSED_AT_MOST = 100_000
# Id and timestamp come from one statement, yet their order can differ: the clock may be set back, or a writer may stall
# between the two.
_OUT_OF_ORDER = timedelta(minutes=10)
# A page's times are from the relay's clock. If the two clocks differ by more than this, a page may be missed and its
# times are unknown.
_CLOCK_SKEW = timedelta(hours=1)

# No row that the transaction sees has a higher number: sequences are read after its snapshot is taken. The setting
# holds for the rest of the transaction. A generic plan, which Postgres makes at a statement's sixth execution if only
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

_NOT_PASSED = text(f"""{WITH_CURSOR}
SELECT subject, type, destination FROM outbox.events
WHERE id >= :first_id AND id <= :last_id AND {NOT_PASSED}
LIMIT :limit
""")  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class NotPassed:
    """An event that the cursor has not advanced past. `destination` is its queue, or None for the event exchange."""

    subject: str
    type: str
    destination: str | None


@dataclass(frozen=True, slots=True)
class IdRange:
    """The first and last event id and the first and last page number of a search."""

    first_id: int
    last_id: int
    first_page: int
    last_page: int


async def range_since(tx: AsyncConnection, moment: datetime) -> IdRange:
    """The range that has all events recorded since `moment` and their pages: from a segment's begin to the newest.

    Later statements of this transaction get plans for their own values.
    """
    reached = (await tx.execute(_REACHED)).one()
    first_id = await _begin_of(tx, EVENTS, reached.event, moment - _OUT_OF_ORDER)
    first_page = await _begin_of(tx, PAGES, reached.page, moment - _CLOCK_SKEW)
    return IdRange(first_id, reached.event, first_page, reached.page)


async def _begin_of(tx: AsyncConnection, series: Series, last: int, moment: datetime) -> int:
    """The first number of the newest segment whose first row is older than `moment`.

    The search goes back from the newest segment in steps that double, and then by halving. So the number of probes is
    logarithmic in the segments since `moment`, and each probe reads one segment. A segment without a row counts as
    newer.
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

    By halving, some thirty index probes: the table has no index by time, and nothing else needs one.
    """
    found = await range_since(tx, moment)
    wanted = moment - _OUT_OF_ORDER
    low, high = found.first_id, found.last_id + 1
    while low < high:
        middle = (low + high) // 2
        row = (await tx.execute(_RECORDED_AT, {"id": middle, "last": found.last_id})).one_or_none()
        if row is None or row.recorded_at >= wanted:
            high = middle
        else:
            low = row.id + 1
    return low


async def not_passed(tx: AsyncConnection, moment: datetime, limit: int = NOT_PASSED_AT_MOST) -> list[NotPassed]:
    """Events since `moment`, and perhaps older ones, that the cursor has not advanced past; `limit` at most."""
    found = await range_since(tx, moment)
    values = {"first_id": found.first_id, "last_id": found.last_id, "limit": limit}
    return [NotPassed(*row) for row in await tx.execute(_NOT_PASSED, values)]
