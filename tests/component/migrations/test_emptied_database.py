"""The tables that are emptied before a test which shares its database with others."""

import asyncio
from datetime import timedelta

from tests.support.builders.order_rows import counts, place
from tests.support.fixtures.shared_database import KEPT, Emptying, deletions, empty
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


def test_the_kept_connection_is_made_again_if_a_test_has_ended_it(
    module_database: str, empty_module_database: Emptying
) -> None:
    async def end_others_and_place() -> None:
        async with connected(module_database) as (connection,):
            ended = await connection.fetch(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            assert ended
            await place(connection, "pending", timedelta(), validation="done")

    async def rows() -> tuple[int, ...]:
        async with connected(module_database) as (connection,):
            return await counts(connection)

    empty_module_database()
    asyncio.run(end_others_and_place())
    assert asyncio.run(rows())[0] == 1

    empty_module_database()

    assert asyncio.run(rows()) == (0, 0, 0)
