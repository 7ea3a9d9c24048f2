"""The gauge of overdue orders: which orders count for which effect, at what price, and through a database's absence."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

from prometheus_client import REGISTRY
from sqlalchemy import event as sqlalchemy_event
from structlog.testing import capture_logs

from consumers.watch import run_once, watch_orders
from orders import ledger
from orders.judgement import STEP_OF, Effect
from orders.workflow import STEPS
from tests.postgres import Asyncpg, connected, engine_of, run
from tests.shared_database import module_database, shared_database_url

__all__ = ["module_database", "shared_database_url"]

ORDER = """
INSERT INTO orders (id, reference, status, customer_name, customer_email, street, city, country, currency, net_total,
                    remaining, reject_reasons, placed_at)
VALUES ($1::uuid, $1::uuid::text, $2, 'N', 'n@example.com', 'S', 'C', 'L', 'EUR', 1, 0,
        CASE WHEN $2 = 'rejected' THEN '[]'::jsonb END, clock_timestamp() - $3::interval)"""
STEP = "INSERT INTO order_steps (order_id, step, event_type, state, attempt) VALUES ($1, $2, 'x', $3, 1)"
NONE = dict.fromkeys(Effect, 0)
LONG = timedelta(days=1)


async def place(connection: Asyncpg, status: str, age: timedelta, **states: str) -> None:
    """An order of this age whose steps, by queue, are in these states."""
    order_id = uuid4()
    await connection.execute(ORDER, order_id, status, age)
    for step in STEPS:
        if step.queue in states:
            await connection.execute(STEP, order_id, step.name, states[step.queue])


def gauge(effect: Effect) -> float | None:
    return REGISTRY.get_sample_value("waybill_orders_overdue", {"effect": effect.value})


def test_each_effect_counts_from_its_steps_deadline_on_until_the_step_is_done(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with connected(shared_database_url) as (connection,), engine_of(shared_database_url) as engine:
            assert await run_once(engine) == NONE
            shortest = min(STEP_OF[effect].deadline_seconds for effect in Effect)
            await place(connection, "pending", timedelta(seconds=shortest - 30))
            assert await run_once(engine) == NONE
            await place(connection, "pending", timedelta(seconds=STEP_OF[Effect.STOCK].deadline_seconds + 30))
            assert await run_once(engine) == {**NONE, Effect.STOCK: 1}
            await place(connection, "synced", LONG, validation="done", inventory="done", sap="done", email="retrying")
            late = dict.fromkeys((Effect.EMAIL, Effect.INVOICE, Effect.ANALYTICS, Effect.COMPLETION), 1)
            assert await run_once(engine) == {**NONE, Effect.STOCK: 1, **late}
            assert [gauge(effect) for effect in (Effect.STOCK, Effect.SAP, Effect.EMAIL)] == [1, 0, 1]

    run(scenario)


def test_finished_orders_do_not_count(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with connected(shared_database_url) as (connection,), engine_of(shared_database_url) as engine:
            await place(connection, "completed", LONG)
            await place(connection, "rejected", LONG)
            assert await run_once(engine) == NONE

    run(scenario)


def test_no_more_than_the_oldest_unfinished_orders_are_read_and_by_their_own_index(shared_database_url: str) -> None:
    async def scenario() -> None:
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
                assert set((await ledger.overdue(tx, 2)).values()) == {2}
            await connection.execute("SET enable_seqscan = off")
            statement, values = statements[-1]
            plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *values))
            assert "orders_unfinished" in plan

    run(scenario)


def test_the_watch_goes_on_after_a_failed_look_and_ends_when_told(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with connected(shared_database_url) as (connection,), engine_of(shared_database_url) as engine:
            stopping = asyncio.Event()
            await connection.execute("ALTER TABLE orders RENAME TO hidden")
            with capture_logs() as said:
                watching = asyncio.create_task(watch_orders(engine, stopping, pause_seconds=0.01))
                try:
                    await until(lambda: len(said) >= 2)
                finally:
                    await connection.execute("ALTER TABLE hidden RENAME TO orders")
            assert {line["event"] for line in said} == {"orders_not_watched"}
            await place(connection, "pending", LONG)
            await until(lambda: gauge(Effect.STOCK) == 1)
            await place(connection, "pending", LONG)
            await until(lambda: gauge(Effect.STOCK) == 2)
            assert not watching.done()
            stopping.set()
            await watching

    run(scenario)


async def until(holds: Callable[[], bool]) -> None:
    """Return once it holds; the scenario's own time limit ends a wait in vain."""
    while not holds():  # noqa: ASYNC110 - the gauge sends no signal
        await asyncio.sleep(0.005)
