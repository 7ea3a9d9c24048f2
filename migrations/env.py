"""Alembic's environment: runs migrations over asyncpg on the database URL of `migrations.upgrade`.

A migration waits at most five seconds for a lock and runs at most ten minutes. Otherwise it would queue behind a long
transaction, and every writer behind it. It fails instead and is run again later.
"""

import asyncio
import re

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from orders.tables import metadata as orders_metadata
from outbox.tables import PgSnapshot, Xid8
from outbox.tables import metadata as outbox_metadata
from runtime.database import async_url

ischema_names.update({"xid8": Xid8, "pg_snapshot": PgSnapshot})

# Partitions are made and dropped by outbox.partitions, not by migrations.
_PARTITION = re.compile(r"(events|pages|deliveries)_\d+")


def _include_name(name: str | None, kind: str, _parents: object) -> bool:
    if kind == "schema":
        return name in {None, "outbox"}
    return kind != "table" or not _PARTITION.match(name or "")


def _migrate(connection: Connection) -> None:
    connection.execute(text("SET lock_timeout = '5s'"))
    connection.execute(text("SET statement_timeout = '10min'"))
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=[orders_metadata, outbox_metadata],
        include_schemas=True,
        include_name=_include_name,
        compare_server_default=False,
    )
    with context.begin_transaction():
        context.run_migrations()


async def _run(database_url: str) -> None:
    engine = create_async_engine(async_url(database_url), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_migrate)
    await engine.dispose()


asyncio.run(_run(context.config.attributes["database_url"]))
