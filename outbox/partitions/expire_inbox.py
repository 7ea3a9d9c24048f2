"""The inbox's months dropped behind, the oldest first: what nobody can ask for again is forgotten.

A month is kept as long as any of its events can come again and must be known: until its last moment is past retention,
no row of it has changed within retention or is still to be worked on, no message that is scheduled and no dead letter that
is open bears an id of it or an older one, and no such dead letter was replayed within retention. What was given up is kept
until its dead letter is in the table, and somebody has decided about it.

Detached and dropped as `outbox.partitions.expire_events` does it: found to be of no use, marked, detached without
anyone having to wait,
looked at once more, dropped; or attached again, if a writer has come in between. A turn that is cut short at any point
is taken up by the next one. While a month is detached its ids have no partition, so whoever brings one is refused with
a CheckViolation: an event that is not remembered is never taken for a new one. `horizon` says from where on ids are.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from asyncpg import Connection, LockNotAvailableError, QueryCanceledError, Record
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.envelope import lowest_id
from outbox.partitions.expire_events import PATIENCE_SECONDS, Outcome, Turn, writers_gone

TABLE = "deliveries"
_STATEMENT_SECONDS = 20  # as in outbox/partitions/expire_events.py
# A month of a busy shop is a hundred million rows, read from end to end, once or twice in its life.
_SCAN_SECONDS = 3600
_MARK = "forgotten: "
_BOUNDS = re.compile(r"FROM \((MINVALUE|'[0-9a-f-]{36}')\) TO \('([0-9a-f-]{36})'\)")

# Partitions, and what was marked and detached already. Names are in order of the months.
_MONTHS = f"""
SELECT relname AS name, inhrelid IS NOT NULL AS attached, coalesce(inhdetachpending, false) AS pending,
       coalesce(comment LIKE '{_MARK}%', false) AS marked, coalesce(pg_get_expr(relpartbound, c.oid), comment) AS bounds
FROM pg_class AS c LEFT JOIN pg_inherits ON inhrelid = c.oid, obj_description(c.oid, 'pg_class') AS comment
WHERE relnamespace = 'outbox'::regnamespace AND relkind = 'r'
  AND (inhparent = 'outbox.{TABLE}'::regclass
       OR (inhrelid IS NULL AND relname ^@ '{TABLE}_' AND coalesce(comment LIKE '{_MARK}%', false)))
ORDER BY pending DESC, name"""  # noqa: S608 - constants

# Whether nothing outside the month names an id below $1: by indexes, and the schedule is short.
_UNASKED_FOR = """
SELECT NOT EXISTS (SELECT FROM outbox.dead_letters WHERE state = 'open' AND event_id < $1)
  AND NOT EXISTS (
    SELECT FROM outbox.dead_letters AS dead_letter JOIN outbox.dead_letter_actions AS act ON act.dead_letter_id = dead_letter.id
    WHERE dead_letter.event_id < $1 AND act.action = 'replay'
      AND greatest(act.acted_at, act.due_at) > clock_timestamp() - $2::interval)
  AND NOT EXISTS (SELECT FROM outbox.scheduled WHERE event_id < $1)"""

# Whether nobody works on any of the month's rows, or has done so within retention, or has still to decide about one.
_AT_REST = """
SELECT NOT EXISTS (
  SELECT FROM outbox.{month} AS delivery
  WHERE state IN ('running', 'retrying') OR changed_at > clock_timestamp() - $1::interval
     OR (state = 'dead' AND NOT EXISTS (
       SELECT FROM outbox.dead_letters AS dead_letter
       WHERE dead_letter.event_id = delivery.event_id AND dead_letter.queue = delivery.consumer AND dead_letter.state <> 'open')))"""

# The lower bound of the oldest month that writers see.
_HORIZON = text(f"""
SELECT pg_get_expr(relpartbound, c.oid) FROM pg_class AS c JOIN pg_inherits ON inhrelid = c.oid
WHERE inhparent = 'outbox.{TABLE}'::regclass AND NOT inhdetachpending ORDER BY relname LIMIT 1
""")  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True)
class _Month:
    """A partition of ids from `first`, an SQL literal, up to `past`. Marked: found to be of no more use."""

    name: str
    first: str
    past: UUID
    attached: bool
    pending: bool
    marked: bool


async def horizon(tx: AsyncConnection) -> UUID | None:
    """The lowest event id that the inbox takes; None while it takes any, as long as no month was ever dropped."""
    bounds = (await tx.execute(_HORIZON)).scalar_one_or_none()
    first, _ = _read(bounds or "")
    return None if first == "MINVALUE" else UUID(first.strip("'"))


async def forget(
    connection: "Connection[Record]",
    retention: timedelta,
    now: datetime | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Turn | None:
    """Drop the oldest month of the inbox if nobody can ask for it; None if it stays. At most one in a turn.

    Outside a transaction. Waits at most `patience_seconds` for any one transaction of others.
    """
    await _limit(connection, patience_seconds, _STATEMENT_SECONDS)
    months = [_month(row) for row in await connection.fetch(_MONTHS)]
    if len(months) < 2:  # the last one says where the next begins
        return None
    month, forgetting = months[0], _Forgetting(connection, retention, patience_seconds)
    if not month.marked and not month.pending and month.past > lowest_id((now or datetime.now(UTC)) - retention):
        return None
    try:
        outcome = await forgetting.take_up(month)
    except (LockNotAvailableError, QueryCanceledError):
        outcome = Outcome.POSTPONED
    return None if outcome is None else Turn(month.name, outcome)


@dataclass(frozen=True, slots=True)
class _Forgetting:
    """One turn."""

    connection: "Connection[Record]"
    retention: timedelta
    patience_seconds: float

    async def take_up(self, month: _Month) -> Outcome | None:
        """Go on from the state in which the last turn left a month; None if it stays."""
        if month.pending:
            await self._alter(f"DETACH PARTITION outbox.{month.name} FINALIZE")
            return await self._drop(month) if month.marked else Outcome.FINALIZED
        if not month.attached:
            return await self._drop(month)
        if not await self._of_no_use(month):
            return None
        # Detaching waits for these as well, but with the month out of sight of everyone else.
        if not await writers_gone(self.connection, TABLE, self.patience_seconds):
            return Outcome.POSTPONED
        mark = f"{_MARK}FROM ({month.first}) TO ('{month.past}')".replace("'", "''")
        await self.connection.execute(f"COMMENT ON TABLE outbox.{month.name} IS '{mark}'")
        await self._alter(f"DETACH PARTITION outbox.{month.name} CONCURRENTLY")
        return await self._drop(month)

    async def _of_no_use(self, month: _Month) -> bool:
        if not await self.connection.fetchval(_UNASKED_FOR, month.past, self.retention):
            return False
        await _limit(self.connection, self.patience_seconds, _SCAN_SECONDS)
        statement = _AT_REST.format(month=month.name)
        at_rest = await self.connection.fetchval(statement, self.retention, timeout=_SCAN_SECONDS)
        await _limit(self.connection, self.patience_seconds, _STATEMENT_SECONDS)
        return bool(at_rest)

    async def _drop(self, month: _Month) -> Outcome:
        """The end of a detached month. Nobody writes to it any more; what came in before that is found now."""
        if await self._of_no_use(month):
            await self.connection.execute(f"DROP TABLE outbox.{month.name}")
            return Outcome.DROPPED
        await self._alter(f"ATTACH PARTITION outbox.{month.name} FOR VALUES FROM ({month.first}) TO ('{month.past}')")
        await self.connection.execute(f"COMMENT ON TABLE outbox.{month.name} IS NULL")
        return Outcome.ATTACHED_AGAIN

    async def _alter(self, change: str) -> None:
        await self.connection.execute(f"ALTER TABLE outbox.{TABLE} {change}")


async def _limit(connection: "Connection[Record]", lock_seconds: float, statement_seconds: float) -> None:
    await connection.execute(
        f"SET lock_timeout = {round(lock_seconds * 1000)}; SET statement_timeout = '{statement_seconds}s'"
    )


def _month(row: Record) -> _Month:
    first, past = _read(row["bounds"])
    return _Month(row["name"], first, UUID(past), row["attached"], row["pending"], row["marked"])


def _read(bounds: str) -> tuple[str, str]:
    """Both bounds as SQL has them; without any, those of a table that takes everything."""
    found = _BOUNDS.search(bounds)
    return (found[1], found[2]) if found else ("MINVALUE", str(UUID(int=0)))
