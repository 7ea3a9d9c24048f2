"""One migrated database for a whole module, emptied before each test.

Dropping a database forces a checkpoint, which on a busy disk takes seconds; these rows are gone in milliseconds. A
test that changes the schema or its partitions takes a `database_url` of its own.
"""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from lab.stack.servers.obtain import ServerUrls
from tests import servers as real

_LEFT_BEHIND = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""

_EMPTY = """
DELETE FROM invoices; DELETE FROM reservations; DELETE FROM order_steps; DELETE FROM order_attempts;
DELETE FROM order_lines; DELETE FROM orders;
DELETE FROM product_prices; DELETE FROM products;
DELETE FROM outbox.events; DELETE FROM outbox.pages; DELETE FROM outbox.leases; DELETE FROM outbox.scheduled;
DELETE FROM outbox.deliveries; DELETE FROM outbox.destinations;
DELETE FROM outbox.letter_actions; DELETE FROM outbox.letter_alerts; DELETE FROM outbox.dead_letters;
ALTER SEQUENCE outbox.event_ids RESTART"""


async def empty(url: str) -> None:
    """Disconnect whoever an earlier test left behind, then delete every row."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_LEFT_BEHIND)
        await connection.execute(_EMPTY)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def module_database(servers: ServerUrls, migrated_template: str) -> Iterator[str]:
    """A migrated database of this module's own."""
    with real.database(servers.database_url, migrated_template) as url:
        yield url


@pytest.fixture
def shared_database_url(module_database: str) -> str:
    """The module's database without any row."""
    asyncio.run(empty(module_database))
    return module_database
