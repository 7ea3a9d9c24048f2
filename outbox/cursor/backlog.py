"""How far behind the outbox is, from the tables alone and at a price that does not grow with them.

Everything is a few index probes: the newest pages, the first rows that the cursor has not passed. So it is true
whatever the relay's own state is, and may be asked every few seconds of an outbox with a hundred million events.
"""

from dataclasses import dataclass

from asyncpg import Connection, Record

from outbox.cursor.reader import CURSOR

NEWEST_PAGES = 100
QUERY_CHARACTERS = 200
FIRST_ROWS = 100
# Within a window ids of later ones lie in between, as many as writers take while a snapshot is young.
NEXT_IDS = 5000

# Ids given out above the highest of the newest pages: a window that brings a late commit ends below the one before it.
_REACHED = """
WITH adopted AS (
  SELECT floor_id, after_page FROM outbox.adoptions ORDER BY adoption DESC LIMIT 1),
newest AS (
  SELECT last_id FROM outbox.pages WHERE page > (SELECT after_page FROM adopted) ORDER BY page DESC LIMIT $1)
SELECT greatest(0, CASE WHEN is_called THEN last_value ELSE last_value - 1 END
  - greatest((SELECT max(last_id) FROM newest), (SELECT floor_id FROM adopted), 0)) FROM outbox.event_ids"""

# Nothing was published yet, here or since the adoption: all above the floor is new.
_OLDEST_OF_ALL = """
SELECT extract(epoch FROM clock_timestamp() - min(recorded_at))::float8 FROM (
  SELECT recorded_at FROM outbox.events
  WHERE id > $1 AND id <= (SELECT last_value FROM outbox.event_ids) ORDER BY id LIMIT $2) AS first"""

# $1 the old and $2 the new snapshot of the newest page, $3 its last id, $4 the floor. Three places have what the
# cursor has not passed: transactions begun since, those that were running then, the rest of the window. What is not
# committed no query sees. OFFSET 0 keeps the last one on the primary key, within its bounds.
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
   WHERE ((xid >= pg_snapshot_xmax($1) AND xid < pg_snapshot_xmax($2)) OR xid = ANY(ARRAY(SELECT pg_snapshot_xip($1))))
     AND pg_visible_in_snapshot(xid, $2)
   LIMIT 1)) AS first"""  # noqa: S608 - constants

# The oldest transaction of this database that has an id, and whether a snapshot of this moment waits for it: the view
# of activity is read process by process. Ids there have 32 bits; theirs is the one nearest to the snapshot's xmax.
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
    """`events` is an estimate: ids given out and not reached; a rolled-back one counts until the next page.

    `oldest_seconds` is the age of the oldest committed event that the cursor has not passed, None without any.
    """

    events: int
    oldest_seconds: float | None


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """The oldest transaction that has written. `running`: it holds back what it recorded, in this very moment."""

    pid: int
    age_seconds: float
    query: str
    application_name: str
    running: bool


async def backlog(connection: "Connection[Record]") -> Backlog:
    """What the cursor has not passed."""
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
