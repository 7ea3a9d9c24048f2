"""Cluster adoption: taking over an outbox that was restored in another cluster. Duplicates, never losses.

A dump keeps the transaction ids of events. In the cluster that it is restored to they mean nothing, and become true
again by accident once the new counter reaches them. A cluster is known by its `system_identifier`. Another database of
the same cluster shares the counter, so nothing is done there.

    ids of outbox.events  ──────────────────────────────────────────────────────────▶
      confirmed in the old cluster     │ perhaps not confirmed │ recorded here before the adoption
      never read again, whatever       │ xid := the adopting transaction's id
      their xids come to mean          │ all are read from the beginning of a new chain of windows
                                       └ floor_id, the low-water id

    one transaction:  LOCK events against writers → low-water id → rewrite xids above it → raise sequences
                      → INSERT INTO outbox.adoptions → COMMIT

The low-water id is at or below the first event that the cursor had not advanced past (`outbox.cursor.position`), so
some confirmed events are published again. Writers' events from before the adoption are above it: sequences are restored
with the tables and are past every page.

Called by `relay.session` before the reader resumes.
"""

from dataclasses import dataclass

from asyncpg import Connection, LockNotAvailableError, Record

from outbox.cursor.position import not_seen
from outbox.cursor.reader import WINDOW_SECONDS

# Writers queue behind the wait for the lock, so it is short and the caller tries again.
LOCK_SECONDS = 5
# A relay that hangs during an adoption keeps writers out no longer than this.
IDLE_SECONDS = 10
# A backlog of some millions takes minutes to rewrite.
REWRITE_SECONDS = 3600

_IDENTIFIERS = """
SELECT system_identifier AS here,
       (SELECT system_identifier FROM outbox.adoptions ORDER BY adoption DESC LIMIT 1) AS known
FROM pg_control_system()"""

# A restore makes the keys after all data, so with the last key the data is complete.
_RESTORED = """
SELECT count(*) = 3 FROM pg_index WHERE indisprimary AND indisvalid
  AND indrelid IN ('outbox.events'::regclass, 'outbox.pages'::regclass, 'outbox.adoptions'::regclass)"""

_LIMITS = f"""
SET LOCAL lock_timeout = '{LOCK_SECONDS}s'; SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"""

_LOCK = "LOCK TABLE outbox.events IN SHARE ROW EXCLUSIVE MODE"

# The backends that held a lock before ours was requested, without the writers that queued behind it.
_BLOCKING = """
SELECT DISTINCT held.pid, coalesce(left(activity.query, 200), 'a prepared transaction') AS query
FROM pg_locks AS held LEFT JOIN pg_stat_activity AS activity USING (pid)
WHERE held.locktype = 'relation' AND held.granted AND held.mode NOT IN ('AccessShareLock', 'RowShareLock')
  AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND held.relation IN (SELECT relid FROM pg_partition_tree('outbox.events'))
  AND (activity.xact_start < now()) IS NOT FALSE AND held.pid IS DISTINCT FROM pg_backend_pid()
ORDER BY held.pid LIMIT 5"""

# The last id of the newest page, or the id before the lowest event in no window yet, if that is lower. A page counts if
# it was written since the previous adoption. MATERIALIZED: by (xid, id), not along everything that was ever published.
_LOW_WATER = f"""
WITH previous AS (
  SELECT coalesce(max(floor_id), 0) AS floor_id, coalesce(max(after_page), 0) AS after_page
  FROM (SELECT floor_id, after_page FROM outbox.adoptions ORDER BY adoption DESC LIMIT 1) AS newest_adoption
), newest AS (
  SELECT new_snapshot, last_id FROM outbox.pages
  WHERE page > (SELECT after_page FROM previous) ORDER BY page DESC LIMIT 1
), unseen AS MATERIALIZED (
  SELECT id FROM outbox.events
  WHERE {not_seen("(SELECT new_snapshot FROM newest)")}
    AND id > (SELECT floor_id FROM previous)
)
SELECT greatest(floor_id, least((SELECT last_id FROM newest), (SELECT min(id) - 1 FROM unseen))) FROM previous"""  # noqa: S608 - a fragment of ours

_REWRITE = "UPDATE outbox.events SET xid = pg_current_xact_id() WHERE id > $1"

# New ids must be above the floor and above every row, also if tables were copied without their sequences.
_RAISE_SEQUENCES = """
SELECT setval('outbox.event_ids', greatest($1, highest)) FROM (SELECT max(id) AS highest FROM outbox.events) AS ids
WHERE greatest($1, highest) >= (SELECT last_value FROM outbox.event_ids) AND greatest($1, highest) > 0
UNION ALL
SELECT setval('outbox.page_ids', highest) FROM (SELECT max(page) AS highest FROM outbox.pages) AS pages
WHERE highest >= (SELECT last_value FROM outbox.page_ids)
UNION ALL
SELECT setval(pg_get_serial_sequence('outbox.adoptions', 'adoption'), highest)
FROM (SELECT max(adoption) AS highest FROM outbox.adoptions) AS adoptions WHERE highest > 0"""

_ADOPT = """
INSERT INTO outbox.adoptions (system_identifier, floor_id, after_page)
SELECT $1, $2, coalesce((SELECT max(page) FROM outbox.pages), 0)"""


class AdoptionError(Exception):
    """The outbox cannot be taken over now; nothing was changed. The caller tries again."""


class WritersActiveError(AdoptionError):
    """Transactions that recorded events are still open. The text names their backends and statements."""


class RestoreUnfinishedError(AdoptionError):
    """The restore is not complete: adopting now would miss the events that it still brings."""


@dataclass(frozen=True, slots=True)
class Adoption:
    """What was taken over. `old_identifier` is None if no cluster was known; `events` will be published."""

    old_identifier: int | None
    new_identifier: int
    floor_id: int
    events: int


async def adopt(connection: "Connection[Record]") -> Adoption | None:
    """Make the outbox this cluster's own if it is another's; None if it is this cluster's already.

    Call it outside a transaction. Two callers at once adopt once. Raises WritersActiveError after LOCK_SECONDS, and
    RestoreUnfinishedError.
    """
    if await _known(connection):
        return None
    async with connection.transaction():
        await _keep_writers_out(connection)
        return None if await _known(connection) else await _take_over(connection)


async def _known(connection: "Connection[Record]") -> bool:
    identifiers = await connection.fetchrow(_IDENTIFIERS)
    assert identifiers is not None, "a cluster has one control file"
    return bool(identifiers["here"] == identifiers["known"])


async def _keep_writers_out(connection: "Connection[Record]") -> None:
    if not await connection.fetchval(_RESTORED):
        raise RestoreUnfinishedError(
            "outbox.events, outbox.pages and outbox.adoptions do not all have their primary keys: the restore is "
            "still running or has failed; the relay takes over when it is complete"
        )
    await connection.execute(_LIMITS)
    try:
        async with connection.transaction():
            await connection.execute(_LOCK)
    except LockNotAvailableError as error:
        found = await connection.fetch(_BLOCKING)
        blocking = [f"pid {row['pid']}: {' '.join(row['query'].split())}" for row in found]
        raise WritersActiveError(
            f"another cluster's outbox is to be adopted, and transactions keep outbox.events locked for over "
            f"{LOCK_SECONDS} s; end them: {'; '.join(blocking) or 'they have ended just now'}"
        ) from error


async def _take_over(connection: "Connection[Record]") -> Adoption:
    identifiers = await connection.fetchrow(_IDENTIFIERS)
    assert identifiers is not None, "a cluster has one control file"
    floor_id = await connection.fetchval(_LOW_WATER, timeout=WINDOW_SECONDS)
    rewritten = await connection.execute(_REWRITE, floor_id, timeout=REWRITE_SECONDS)
    await connection.execute(_RAISE_SEQUENCES, floor_id)
    await connection.execute(_ADOPT, identifiers["here"], floor_id)
    return Adoption(identifiers["known"], identifiers["here"], floor_id, int(rewritten.removeprefix("UPDATE ")))
