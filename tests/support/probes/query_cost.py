"""The cost of a statement of the relay, counted in blocks that Postgres touched: the same on every machine."""

import json
from typing import Any

from outbox.cursor.reader import ONE_PLAN
from tests.support.probes.database import Asyncpg


async def as_the_relay(connection: Asyncpg) -> None:
    """The settings of the relay's connections."""
    for name, value in ONE_PLAN.items():
        await connection.execute(f"SET {name} = {value}")


async def blocks_touched(connection: Asyncpg, statement: str, *values: Any) -> int:
    """Execute a prepared statement; returns the blocks that it touched, without those of the rows that it inserts."""
    prepared = await connection.prepare(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")
    plan = json.loads(await prepared.fetchval(*values))[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
