"""Orders as rows: of a status, an age and steps of the test's choice."""

from datetime import timedelta
from uuid import UUID, uuid4

from orders.workflow import STEPS
from tests.support.probes.database import Asyncpg

ORDER = """
INSERT INTO orders (id, reference, status, customer_name, customer_email, street, city, country, currency, net_total,
                    open_joins, leaf_steps, reject_reasons, placed_at, completed_at)
VALUES ($1::uuid, $1::uuid::text, $2, 'N', 'n@example.com', 'S', 'C', 'L', 'EUR', 1, '{}', '{}',
        CASE WHEN $2 = 'rejected' THEN '[]'::jsonb END, statement_timestamp() - $3::interval,
        statement_timestamp() - $3::interval + $4::interval)"""
STEP = "INSERT INTO order_steps (order_id, step, event_type, state, attempt) VALUES ($1, $2, 'x', $3, 1)"


async def place(
    connection: Asyncpg, status: str, age: timedelta, finished_after: timedelta | None = None, **states: str
) -> UUID:
    """An order of this age whose steps, by queue, are in these states."""
    order_id = uuid4()
    await connection.execute(ORDER, order_id, status, age, finished_after)
    for step in STEPS:
        if step.queue in states:
            await connection.execute(STEP, order_id, step.name, states[step.queue])
    return order_id


async def counts(observer: Asyncpg) -> tuple[int, ...]:
    """The numbers of orders, lines and events."""
    row = await observer.fetchrow(
        "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM order_lines), (SELECT count(*) FROM outbox.events)"
    )
    assert row is not None
    return tuple(row.values())
