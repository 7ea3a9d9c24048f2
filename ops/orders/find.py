"""Finds an order by its id, its number (WB-…) or its client's reference."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from orders import repository


async def id_of(tx: AsyncConnection, name: str) -> UUID | None:
    """The order's id; None if there is no such order. Ids are tried first: a reference may have that form."""
    order_id = uuid_of(name)
    if order_id is not None and await repository.numbers(tx, [order_id]):
        return order_id
    return await repository.id_by_name(tx, name)


def uuid_of(text: str | None) -> UUID | None:
    """The UUID that a text spells; None if it spells none."""
    try:
        return UUID(text or "")
    except ValueError:
        return None
