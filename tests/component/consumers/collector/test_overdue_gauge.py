"""The gauge of overdue orders: which orders count for which effect, and at what price."""

from datetime import timedelta

from prometheus_client import REGISTRY
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.collector.order_gauges import OrderGauges
from consumers.collector.refresh import Refresh, run_once
from orders.audit import queries
from orders.audit.rules import STEP_OF, Effect
from tests.support.builders.order_rows import place
from tests.support.probes.database import connected, engine_of

NONE = dict.fromkeys(Effect, 0)
LONG = timedelta(days=1)


async def overdue(engine: AsyncEngine) -> dict[Effect, float]:
    """The gauge after a refresh."""
    await run_once(Refresh("overdue", OrderGauges(0.0).overdue), engine)
    return {effect: gauge(effect) for effect in Effect}


def gauge(effect: Effect) -> float:
    value = REGISTRY.get_sample_value("waybill_orders_overdue", {"effect": effect.value})
    assert value is not None
    return value


async def test_each_effect_counts_from_its_steps_deadline_on_until_the_step_is_done(shared_database_url: str) -> None:
    async with connected(shared_database_url) as (connection,), engine_of(shared_database_url) as engine:
        assert await overdue(engine) == NONE
        shortest = min(STEP_OF[effect].deadline_seconds for effect in Effect)
        await place(connection, "pending", timedelta(seconds=shortest - 30))
        assert await overdue(engine) == NONE
        await place(connection, "pending", timedelta(seconds=STEP_OF[Effect.STOCK].deadline_seconds + 30))
        assert await overdue(engine) == {**NONE, Effect.STOCK: 1}
        await place(connection, "synced", LONG, validation="done", inventory="done", sap="done", email="retrying")
        late = dict.fromkeys((Effect.EMAIL, Effect.INVOICE, Effect.ANALYTICS, Effect.COMPLETION), 1)
        assert await overdue(engine) == {**NONE, Effect.STOCK: 1, **late}


async def test_finished_orders_do_not_count(shared_database_url: str) -> None:
    async with connected(shared_database_url) as (connection,), engine_of(shared_database_url) as engine:
        await place(connection, "completed", LONG)
        await place(connection, "rejected", LONG)
        assert await overdue(engine) == NONE


async def test_no_more_than_the_oldest_unfinished_orders_are_read_and_by_their_own_index(
    shared_database_url: str,
) -> None:
    async with connected(shared_database_url) as (connection,), engine_of(shared_database_url) as engine:
        for _ in range(3):
            await place(connection, "pending", LONG)
        statements: list[tuple[str, tuple[object, ...]]] = []
        sqlalchemy_event.listen(
            engine.sync_engine,
            "before_cursor_execute",
            lambda _connection, _cursor, statement, values, *_: statements.append((statement, values)),
        )
        async with engine.connect() as tx:
            assert set((await queries.overdue(tx, 2)).values()) == {2}
        await connection.execute("SET enable_seqscan = off")
        statement, values = statements[-1]
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *values))
        assert "orders_unfinished" in plan
