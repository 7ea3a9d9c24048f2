"""The number of an audit's statements does not grow with the orders, and it reads no events before its window."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from ops.audit.report import Probes, WindowExpiredError, audit
from orders.audit.queries import Window
from outbox.cursor.id_ranges import first_id_since
from outbox.partitions.create import make_partitions
from outbox.partitions.expire_inbox import expire_month
from tests.support.probes.database import connected, engine_of

# Orders a second apart, completed or waiting for SAP, with lines, reservations, steps and inbox rows.
ORDERS = """
WITH made AS (
  INSERT INTO orders (id, reference, status, customer_name, customer_email, street, city, country, currency, net_total,
                      open_joins, leaf_steps, sap_document, placed_at, completed_at)
  SELECT gen_random_uuid(), 'PO-' || n, CASE WHEN n % 2 = 0 THEN 'completed' ELSE 'reserved' END, 'N', 'n@example.com',
         'S', 'C', 'L', 'EUR', 2, '{}', '{}', CASE WHEN n % 2 = 0 THEN n::text END,
         now() - make_interval(secs => n), NULL
  FROM generate_series(1, $1) AS n RETURNING id, status),
lines AS (
  INSERT INTO order_lines (order_id, position, sku, quantity, unit_price, discount, net)
  SELECT id, 1, 'SKU', 2, 1, 0, 2 FROM made),
held AS (INSERT INTO reservations (order_id, sku, quantity) SELECT id, 'SKU', 2 FROM made),
steps AS (
  INSERT INTO order_steps (order_id, step, event_type, state, attempt)
  SELECT id, step, kind, 'done', 1 FROM made,
    (VALUES ('validate_order', 'order.placed'), ('reserve_inventory', 'order.validated')) AS s (step, kind)),
events AS (
  INSERT INTO outbox.events (event_id, type, subject, source, time, data)
  SELECT gen_random_uuid(), kind, id::text, 'urn:test', now(), '' FROM made,
    unnest(ARRAY['order.placed', 'order.validated', 'inventory.reserved']) AS kind)
INSERT INTO outbox.deliveries (consumer, event_id, subject, state, generation, claims)
SELECT consumer, (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0') || '7'
                  || substr(md5(id::text || consumer), 1, 19))::uuid, id::text, 'done', 1, 0
FROM made, unnest(ARRAY['email', 'analytics']) AS consumer WHERE status = 'completed'"""
PRODUCT = "INSERT INTO products (sku, name, available) VALUES ('SKU', 'Product', 1)"
EVENT = """
INSERT INTO outbox.events (event_id, type, subject, source, time, data, recorded_at)
SELECT gen_random_uuid(), 'order.placed', n::text, 'urn:test', now(), '', now() - make_interval(hours => 100 - n)
FROM generate_series(1, 100) AS n"""


@contextmanager
def counted(engine: AsyncEngine) -> Iterator[list[str]]:
    """The statements that are sent in the block."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", note)


async def test_a_thousand_orders_take_no_more_statements_than_ten(database_url: str) -> None:
    async with connected(database_url) as (connection,), engine_of(database_url) as engine:
        await make_partitions(connection)
        await connection.execute(PRODUCT)
        statements = []
        for more in (10, 990):
            await connection.execute(ORDERS.replace("'PO-'", f"'PO-{more}-'"), more)
            with counted(engine) as sent:
                window = Window(datetime.now(UTC) - timedelta(days=1), datetime.now(UTC))
                report = await audit(engine, Probes(), window)
            # A moment's place in the outbox is found by halving: the one thing that grows, by its logarithm.
            statements.append([one for one in sent if "WHERE id >= $1 AND id <= $2 ORDER BY id" not in one])
        assert report.orders == 1000
        # Half of them wait for SAP; of the completed ones none has an invoice.
        assert len(report.missing) == 5 * 500 + 500
        assert len(statements[0]) == len(statements[1]) < 25


async def test_the_first_id_of_a_moment_is_found_within_ten_minutes_and_by_few_probes(database_url: str) -> None:
    async with connected(database_url) as (connection,), engine_of(database_url) as engine:
        await connection.execute(EVENT)  # number n is 100 - n hours old
        async with engine.connect() as tx:
            now = datetime.now(UTC)
            assert await first_id_since(tx, now - timedelta(hours=200)) <= 1
            assert await first_id_since(tx, now - timedelta(hours=40, minutes=30)) == 60
            assert await first_id_since(tx, now - timedelta(hours=40) + timedelta(minutes=5)) == 60
            assert await first_id_since(tx, now + timedelta(hours=1)) == 101
            with counted(engine) as sent:
                await first_id_since(tx, now - timedelta(hours=10))
            assert len(sent) <= 9


async def test_a_window_before_the_inbox_s_retention_is_refused_with_the_first_day_that_it_keeps(
    database_url: str,
) -> None:
    async with connected(database_url) as (connection,), engine_of(database_url) as engine:
        await make_partitions(connection, date(2031, 3, 1))
        assert await expire_month(connection, timedelta(days=100), datetime(2031, 3, 1, tzinfo=UTC)) is not None
        begin = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=31)
        begin = begin.replace(day=1, hour=1)
        with pytest.raises(WindowExpiredError, match=f"before {begin:%Y-%m-%d} 01:00 UTC"):
            await audit(engine, Probes(), Window(begin - timedelta(seconds=1), begin))
        assert (await audit(engine, Probes(), Window(begin, begin))).clean


async def test_an_empty_outbox_has_no_first_id(database_url: str) -> None:
    async with engine_of(database_url) as engine, engine.connect() as tx:
        assert await first_id_since(tx, datetime.now(UTC)) <= 1
        report = await audit(engine, Probes(), Window(datetime.now(UTC) - timedelta(days=1), datetime.now(UTC)))
        assert (report.orders, report.clean) == (0, True)
