"""Partitions made ahead of need: `events` and `pages` by number, `deliveries` by the month in the event id.

A partition is made as a table of its own and then attached, which takes no lock that a writer would wait for. There is
no default partition: rows in one would keep the missed partition from ever being made. A writer that finds no segment
gets NoSegmentError, and the order is refused, never lost. Called by `relay.maintenance` and `migrations.upgrade`;
`expire_events` and `expire_inbox` drop what is past retention.
"""

from datetime import UTC, date, datetime

from asyncpg import Connection, Record

from outbox.segments import EVENTS, NEXT_ID, PAGES, Series

MONTHS_AHEAD = 3
LOCK_SECONDS = 5

_HIGHEST_SEGMENT_END = """
SELECT coalesce(max((regexp_match(pg_get_expr(relpartbound, oid), 'TO \\(''?(\\d+)''?\\)'))[1]::bigint), 0)
FROM pg_class WHERE oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = $1::text::regclass)"""

_PARTITIONS_OF_DELIVERIES = """
SELECT relname FROM pg_class
WHERE oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'outbox.deliveries'::regclass)"""


# Two processes may make partitions at once; the second one waits and finds them made.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('outbox.make_partitions'))"


async def make_partitions(connection: "Connection[Record]", today: date | None = None) -> int:
    """Make the missing segments and months ahead, in one transaction; the number that were made.

    Raises asyncpg's LockNotAvailableError after LOCK_SECONDS: another session alters the tables; call it again later.
    """
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        await connection.execute(_ONE_AT_A_TIME)
        segments = await _make_segments(connection, EVENTS) + await _make_segments(connection, PAGES)
        return segments + await _make_months(connection, today or datetime.now(UTC).date())


async def segments_left(connection: "Connection[Record]", series: Series = EVENTS) -> int:
    """The number of whole segments ahead of the next event's id, or page's number."""
    end, next_id = await _ends(connection, series)
    return max(0, end - next_id) // series.size


async def _ends(connection: "Connection[Record]", series: Series) -> tuple[int, int]:
    end = await connection.fetchval(_HIGHEST_SEGMENT_END, f"outbox.{series.table}")
    return int(end), int(await connection.fetchval(NEXT_ID.format(sequence=series.sequence)))


async def _make_segments(connection: "Connection[Record]", series: Series) -> int:
    end, next_id = await _ends(connection, series)
    wanted = (next_id // series.size + 1 + series.ahead) * series.size
    starts = range(end, wanted, series.size)
    for start in starts:
        name = f"{series.table}_{start // series.size:06d}"
        await _attach(connection, series.table, name, str(start), str(start + series.size))
    return len(starts)


async def _make_months(connection: "Connection[Record]", today: date) -> int:
    there = [row["relname"] for row in await connection.fetch(_PARTITIONS_OF_DELIVERIES)]
    newest = max((date(int(name[-7:-3]), int(name[-2:]), 1) for name in there), default=None)
    # From the newest on, not from today: months that passed while no process made partitions have events too, and a
    # month that was dropped is never made again.
    month = _month(today, 0) if newest is None else _month(newest, 1)
    # The first partition takes every older event id too: a dead letter from last year can be replayed.
    start = "MINVALUE" if newest is None else _lowest_id(month)
    made = 0
    while month <= _month(today, MONTHS_AHEAD):
        following = _month(month, 1)
        await _attach(connection, "deliveries", f"deliveries_{month:%Y_%m}", start, _lowest_id(following))
        month, start, made = following, _lowest_id(following), made + 1
    return made


async def _attach(connection: "Connection[Record]", parent: str, name: str, start: str, end: str) -> None:
    await connection.execute(f"""
        CREATE TABLE outbox.{name} (LIKE outbox.{parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES);
        ALTER TABLE outbox.{parent} ATTACH PARTITION outbox.{name} FOR VALUES FROM ({start}) TO ({end})""")


def _month(day: date, ahead: int) -> date:
    """The first day of the month `ahead` months after `day`'s."""
    months = day.year * 12 + day.month - 1 + ahead
    return date(months // 12, months % 12 + 1, 1)


def _lowest_id(day: date) -> str:
    """The lowest UUIDv7 of a day as an SQL literal: 48 bits of Unix milliseconds, the rest zero."""
    milliseconds = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    digits = f"{milliseconds << 80:032x}"
    return f"'{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}'"
