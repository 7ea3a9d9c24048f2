"""What the relay's monitor says of Postgres itself, as an owner and as a role that may see little."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from prometheus_client import REGISTRY

from orders.tables import metadata as business
from outbox.cursor.backlog import oldest_transaction
from outbox.schedule import schedule
from outbox.tables import metadata as outbox
from relay.health.postgres import PostgresStats
from tests.support.builders.events import new_event
from tests.support.probes.database import Asyncpg, committed, connected, engine_of

STATES = ("active", "idle", "idle_in_transaction", "other")


def figure(name: str, **labels: str) -> float:
    value = REGISTRY.get_sample_value(f"waybill_postgres_{name}", labels)
    assert value is not None
    return value


def connections() -> dict[str, float]:
    return {state: figure("connections", state=state) for state in STATES}


def rows(table: str) -> tuple[float, float]:
    """Live and dead ones."""
    return figure("live_tuples", table=table), figure("dead_tuples", table=table)


@asynccontextmanager
async def restricted(connection: Asyncpg) -> AsyncIterator[None]:
    """Inside, the connection may see no more than any role."""
    role = f"bystander_{uuid4().hex[:12]}"
    await connection.execute(f"CREATE ROLE {role}")
    try:
        await connection.execute(f"SET ROLE {role}")
        yield
    finally:
        await connection.execute(f"RESET ROLE; DROP ROLE {role}")


async def read_until(reader: Asyncpg, holds: Callable[[], bool]) -> None:
    """Read until it holds: backends of earlier tests end when they like, and autovacuum comes when it likes."""
    figures = PostgresStats()
    await figures.read(reader)
    while not holds():
        await asyncio.sleep(0.01)
        await figures.read(reader)


async def test_connections_are_counted_by_state_against_what_the_server_allows(database_url: str) -> None:
    async with connected(database_url, 3) as (reader, idle, waiting):
        await read_until(reader, lambda: connections()["idle_in_transaction"] == 0)
        assert connections()["active"] >= 1
        assert connections()["idle"] >= 2
        await waiting.execute("BEGIN")
        await read_until(reader, lambda: connections()["idle_in_transaction"] == 1)
        assert connections()["idle"] >= 1
        assert figure("connections_max") == int(await idle.fetchval("SHOW max_connections"))


async def test_a_transaction_that_only_reads_is_seen_as_long_as_it_keeps_a_snapshot(shared_database_url: str) -> None:
    def age() -> float:
        return figure("oldest_snapshot_age_seconds")

    async with connected(shared_database_url, 2) as (reader, report):
        await report.execute("BEGIN")  # open, and sees nothing that must be kept
        await read_until(reader, lambda: age() == 0)
        await report.execute("ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        await PostgresStats().read(reader)
        first = age()
        assert first > 0
        assert age() > first  # at each scrape
        assert await oldest_transaction(reader) is None  # it delays no event
        await report.execute("ROLLBACK")
        await read_until(reader, lambda: age() == 0)


async def test_rows_are_counted_for_each_of_our_tables_and_those_of_partitions_for_their_parent(
    shared_database_url: str,
) -> None:
    async def read_flushed(connection: Asyncpg) -> None:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        await PostgresStats().read(connection)

    async with connected(shared_database_url) as (connection,), engine_of(shared_database_url) as engine:
        await connection.execute("ALTER TABLE outbox.scheduled SET (autovacuum_enabled = false)")
        await read_flushed(connection)
        series = next(metric for metric in REGISTRY.collect() if metric.name == "waybill_postgres_live_tuples")
        ours = {table.fullname for metadata in (business, outbox) for table in metadata.tables.values()}
        assert {sample.labels["table"] for sample in series.samples} == ours
        live, dead = rows("outbox.scheduled")
        events, _ = rows("outbox.events")
        async with engine.begin() as tx:
            for _ in range(5):
                await schedule(tx, new_event(), "sap", datetime.now(UTC) + timedelta(hours=1))
            await tx.exec_driver_sql(
                "DELETE FROM outbox.scheduled WHERE id IN (SELECT id FROM outbox.scheduled LIMIT 3)"
            )
            await tx.exec_driver_sql("SELECT pg_stat_force_next_flush()")
        await committed(engine, [new_event() for _ in range(4)])
        async with engine.begin() as tx:  # the pool's one connection: this flushes its statistics
            await tx.exec_driver_sql("SELECT pg_stat_force_next_flush()")
        await read_flushed(connection)
        assert rows("outbox.scheduled") == (live + 2, dead + 3)
        assert rows("outbox.events")[0] == events + 4


async def test_a_role_without_rights_sees_others_without_their_state_and_none_of_their_transactions(
    database_url: str,
) -> None:
    async with connected(database_url, 2) as (reader, report):
        await report.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        async with restricted(reader):
            await PostgresStats().read(reader)
        # A session is its login's, not of the role that it has set: of itself it sees as little.
        assert connections() == {"active": 0, "idle": 0, "idle_in_transaction": 0, "other": connections()["other"]}
        assert connections()["other"] >= 2
        assert figure("oldest_snapshot_age_seconds") == 0
        assert figure("live_tuples", table="outbox.events") >= 0
