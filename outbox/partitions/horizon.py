"""The inbox's horizon: the lowest event id that has a partition. `expire_inbox` drops the months before it."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.partitions.expiry import bounds_of

# The bounds of the oldest month that writers see.
_OLDEST_MONTH = text("""
SELECT pg_get_expr(relpartbound, c.oid) FROM pg_class AS c JOIN pg_inherits ON inhrelid = c.oid
WHERE inhparent = 'outbox.deliveries'::regclass AND NOT inhdetachpending ORDER BY relname LIMIT 1
""")


async def horizon(tx: AsyncConnection) -> UUID | None:
    """The lowest event id that the inbox takes; None while it takes any, because no month was dropped yet."""
    bounds = (await tx.execute(_OLDEST_MONTH)).scalar_one_or_none()
    if bounds is None:
        return None
    first, _ = bounds_of(bounds)
    return None if first == "MINVALUE" else UUID(first.strip("'"))
