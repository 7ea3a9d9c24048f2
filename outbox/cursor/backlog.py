"""The backlog of the outbox: events that the cursor has not advanced past, and the transaction that holds events back.

Read from the tables alone, so it is true whatever state the relay is in. Each query is a few index probes, so it may
run every few seconds on an outbox with a hundred million events. Called by `relay.health`, `ops.doctor` and `lab.soak`.
"""

from dataclasses import dataclass

from asyncpg import Connection, Record

from outbox.cursor.position import CURSOR, in_window

NEWEST_PAGES = 100
QUERY_CHARACTERS = 200
FIRST_ROWS = 100
# Ids of later windows lie between those of one: as many as writers take while a snapshot is young.
NEXT_IDS = 5000

# The number of ids above the highest of the newest pages: a window with a late commit can end below the one before it.
_REACHED = """
WITH adopted AS (
  SELECT floor_id, after_page FROM outbox.adoptions ORDER BY adoption DESC LIMIT 1),
newest AS (
  SELECT last_id FROM outbox.pages WHERE page > (SELECT after_page FROM adopted) ORDER BY page DESC LIMIT $1)
SELECT greatest(0, CASE WHEN is_called THEN last_value ELSE last_value - 1 END
  - greatest((SELECT max(last_id) FROM newest), (SELECT floor_id FROM adopted), 0)) FROM outbox.event_ids"""

# Before the first page, or the first since the adoption, everything above the floor is new.
_OLDEST_OF_ALL = """
SELECT extract(epoch FROM clock_timestamp() - min(recorded_at))::float8 FROM (
  SELECT recorded_at FROM outbox.events
  WHERE id > $1 AND id <= (SELECT last_value FROM outbox.event_ids) ORDER BY id LIMIT $2) AS first"""

# $1 the old and $2 the new snapshot of the newest page, $3 its last id, $4 the floor. Rows that the cursor has not
# passed (outbox/cursor/position.py) are in three places, each read by its index: transactions that began since,
# transactions that were running then, and the rest of the window. OFFSET 0 keeps the third on the primary key, within
# its bounds.
_OLDEST = f"""
SELECT extract(epoch FROM clock_timestamp() - min(recorded_at))::float8 FROM (
  (SELECT recorded_at FROM outbox.events
   WHERE xid >= pg_snapshot_xmax($2) AND id > $4 AND id <= (SELECT last_value FROM outbox.event_ids)
   ORDER BY xid, id LIMIT {FIRST_ROWS})
  UNION ALL
  (SELECT recorded_at FROM pg_snapshot_xip($2) AS running(xid) CROSS JOIN LATERAL (
     SELECT recorded_at FROM outbox.events
     WHERE xid = running.xid AND id > $4 AND id <= (SELECT last_value FROM outbox.event_ids)
     ORDER BY xid, id LIMIT 1) AS late)
  UNION ALL
  (SELECT recorded_at FROM (
     SELECT recorded_at, xid FROM outbox.events WHERE id > $3 AND id <= $3 + {NEXT_IDS} ORDER BY id OFFSET 0) AS next
   WHERE {in_window("$1", "$2")}
   LIMIT 1)) AS first"""  # noqa: S608 - constants

# The oldest transaction of this database that has an id, and whether it is still running in a snapshot of this moment:
# the view of activity is read process by process, so the transaction may have ended meanwhile. Ids there have 32 bits;
# the full id is the one nearest to the snapshot's xmax.
_OLDEST_TRANSACTION = """
SELECT pid, extract(epoch FROM clock_timestamp() - xact_start)::float8 AS age_seconds, left(query, $1) AS query,
  application_name,
  NOT pg_visible_in_snapshot((highest - ((highest - backend_xid::text::bigint) & 4294967295))::text::xid8, now)
FROM pg_stat_activity, pg_current_snapshot() AS now,
  LATERAL (SELECT pg_snapshot_xmax(now)::text::bigint + 2147483648 AS highest) AS ids
WHERE datname = current_database() AND backend_xid IS NOT NULL AND xact_start IS NOT NULL
ORDER BY xact_start LIMIT 1"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """The events that the cursor has not advanced past.

    `events` is an estimate from the sequence: an id that was rolled back counts until the next page. `oldest_seconds`
    is the age of the oldest committed one, None without any.
    """

    events: int
    oldest_seconds: float | None


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """The oldest transaction that has written. `running`: it still holds back the events that it recorded."""

    pid: int
    age_seconds: float
    query: str
    application_name: str
    running: bool


async def backlog(connection: "Connection[Record]") -> Backlog:
    """The number and age of the events that the cursor has not advanced past."""
    events = await connection.fetchval(_REACHED, NEWEST_PAGES)
    cursor = await connection.fetchrow(CURSOR)
    if cursor is None or cursor["new_snapshot"] is None:
        oldest = await connection.fetchval(_OLDEST_OF_ALL, 0 if cursor is None else cursor["floor_id"], FIRST_ROWS)
    else:
        oldest = await connection.fetchval(
            _OLDEST, cursor["old_snapshot"], cursor["new_snapshot"], cursor["last_id"], cursor["floor_id"]
        )
    return Backlog(0 if oldest is None else max(1, events), oldest)


async def oldest_transaction(connection: "Connection[Record]") -> OpenTransaction | None:
    """The oldest open transaction of this database that has an id, None without any."""
    row = await connection.fetchrow(_OLDEST_TRANSACTION, QUERY_CHARACTERS)
    return None if row is None else OpenTransaction(*row)
