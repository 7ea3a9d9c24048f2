"""Bring a database to the newest schema, with its partitions ahead: what `waybill migrate` runs."""

import asyncio
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config

from outbox.partitions.create import make_partitions


def alembic_config(database_url: str) -> Config:
    """Alembic's configuration, without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["database_url"] = database_url
    return config


def upgrade(database_url: str) -> None:
    """Apply every missing migration, then make the partitions ahead. Running it again changes nothing."""
    command.upgrade(alembic_config(database_url), "head")
    asyncio.run(_make_partitions(database_url))


async def _make_partitions(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await make_partitions(connection)
    finally:
        await connection.close()
