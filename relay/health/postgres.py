"""Statistics of Postgres that matter to the outbox: connections, the transaction that holds vacuum back, dead rows.

Called by `relay.health.monitor`. Connections and transactions are read from `pg_stat_activity`, which is cheap enough
for every reading. The tables' figures are Postgres's own running estimates, one per partition, and read less often.

A replication slot, and a standby with hot_standby_feedback, hold vacuum back as well. They are not seen here, because
they are no transactions of this database.

No superuser is needed. Without `pg_read_all_stats` a role sees that another role's sessions exist, but not their state:
they count as `other`, and their transactions are not seen.
"""

import time

from asyncpg import Connection, Record

from relay.health import metrics
from runtime.age import NO_AGE, Age

TABLES_SECONDS = 15.0

# Of the whole server, since max_connections bounds all: clients, and sessions whose kind this role may not see.
_CONNECTIONS = """
SELECT CASE WHEN state IN ('active', 'idle') THEN state
  WHEN state LIKE 'idle in transaction%' THEN 'idle_in_transaction' ELSE 'other' END AS state,
  count(*) AS connections
FROM pg_stat_activity WHERE backend_type = 'client backend' OR (backend_type IS NULL AND datid IS NOT NULL)
GROUP BY 1"""

_MAX_CONNECTIONS = "SELECT current_setting('max_connections')::int"

# The oldest transaction of this database that holds a snapshot or has written: vacuum removes no row that died since. A
# vacuum holds nothing back and does not count, nor does this session. A prepared transaction has no session.
_OLDEST_SNAPSHOT = """
SELECT extract(epoch FROM clock_timestamp() - min(began_at))::float8 FROM (
  SELECT xact_start AS began_at FROM pg_stat_activity
  WHERE datname = current_database() AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
    AND pid <> pg_backend_pid() AND pid NOT IN (SELECT pid FROM pg_stat_progress_vacuum)
  UNION ALL
  SELECT prepared FROM pg_prepared_xacts WHERE database = current_database()) AS open"""

# Partitions count for their parent; a partition that is detached and about to be dropped does not count.
_TABLES = """
SELECT coalesce(pg_partition_root(relid), relid)::regclass::text AS "table", sum(n_live_tup)::float8 AS live,
  sum(n_dead_tup)::float8 AS dead
FROM pg_stat_user_tables
WHERE schemaname IN ('outbox', current_schema()) AND relname <> 'alembic_version'
  AND NOT (schemaname = 'outbox' AND relname ~ '_[0-9]+$' AND pg_partition_root(relid) IS NULL)
GROUP BY 1"""


class PostgresStats:
    """The statistics of one monitor."""

    def __init__(self) -> None:
        self._oldest_snapshot = NO_AGE
        self._tables_at = 0.0
        metrics.OLDEST_SNAPSHOT.set_function(self._oldest_snapshot_seconds)

    async def read(self, connection: "Connection[Record]") -> None:
        """Read the statistics that are due and set their gauges."""
        oldest = await connection.fetchval(_OLDEST_SNAPSHOT)
        self._oldest_snapshot = Age(oldest, time.monotonic())
        await _read_connections(connection)
        if time.monotonic() >= self._tables_at:
            await _read_tables(connection)
            self._tables_at = time.monotonic() + TABLES_SECONDS

    def _oldest_snapshot_seconds(self) -> float:
        return self._oldest_snapshot.now()


async def _read_connections(connection: "Connection[Record]") -> None:
    by_state = {row["state"]: row["connections"] for row in await connection.fetch(_CONNECTIONS)}
    for state in metrics.CONNECTION_STATES:
        metrics.CONNECTIONS.labels(state).set(by_state.get(state, 0))
    metrics.CONNECTIONS_MAX.set(await connection.fetchval(_MAX_CONNECTIONS))


async def _read_tables(connection: "Connection[Record]") -> None:
    for row in await connection.fetch(_TABLES):
        metrics.LIVE_TUPLES.labels(row["table"]).set(row["live"])
        metrics.DEAD_TUPLES.labels(row["table"]).set(row["dead"])
