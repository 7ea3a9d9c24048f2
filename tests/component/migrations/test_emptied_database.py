"""The tables that are emptied before a test which shares its database with others."""

from datetime import timedelta

from tests.support.builders.order_rows import counts, place
from tests.support.fixtures.shared_database import KEPT, deletions, empty
from tests.support.probes.database import connected

TABLES = """
SELECT CASE WHEN nspname = 'public' THEN relname ELSE nspname || '.' || relname END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE nspname IN ('public', 'outbox') AND relkind IN ('r', 'p') AND NOT relispartition"""


async def test_every_table_that_the_migrations_make_is_emptied(shared_database_url: str) -> None:
    async with connected(shared_database_url) as (connection,):
        made = {str(name) for (name,) in await connection.fetch(TABLES)}
    emptied = {deletion.removeprefix("DELETE FROM ") for deletion in deletions().split("; ")}
    assert made - emptied == KEPT | {"alembic_version"}


async def test_rows_that_refer_to_others_are_deleted_with_them(shared_database_url: str) -> None:
    async with connected(shared_database_url) as (connection,):
        await place(connection, "pending", timedelta(), validation="done")
        assert (await counts(connection))[0] == 1
    await empty(shared_database_url)
    async with connected(shared_database_url) as (connection,):
        assert await counts(connection) == (0, 0, 0)
