"""Which order a person means: by its id, its number (WB-…) or its client's reference."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from orders import repository


async def id_of(tx: AsyncConnection, name: str) -> UUID | None:
    """The order's id; None when there is no such order. A reference may look like an id, so ids come first."""
    order_id = uuid_of(name)
    if order_id is not None and await repository.numbers(tx, [order_id]):
        return order_id
    return await repository.id_by_name(tx, name)


def uuid_of(text: str | None) -> UUID | None:
    """The UUID that a text is, None if it is none."""
    try:
        return UUID(text or "")
    except ValueError:
        return None
