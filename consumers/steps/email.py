"""The e-mail step: writes to the customer what was ordered, or why the order was rejected.

A mail server cannot be asked what it has taken. A worker that dies between the server's 250 and its own commit makes
the next attempt send again, with the same Message-ID, by which mail systems recognise a copy.
"""

from collections.abc import Mapping
from typing import Any, Self

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.adapters.email_texts import confirmation, rejection
from consumers.adapters.mailer import Mailer
from consumers.delivery.delivery import Delivery
from consumers.delivery.step_kinds import OutsideStep
from consumers.steps.joined import joined_step_done
from consumers.steps.order import load_order
from orders.model import Order, Status
from runtime.settings import Settings


class SendConfirmationEmail(OutsideStep):
    """`order.synced` -> a confirmation; `order.rejected` -> the reasons."""

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """The step with a mailer of its own."""
        return cls(Mailer(settings))

    async def prepare(self, delivery: Delivery, tx: AsyncConnection) -> Order:
        """The order to write about."""
        return await load_order(delivery, tx)

    async def perform(self, delivery: Delivery, prepared: Order) -> dict[str, Any]:
        """The journal: the Message-ID, and whether it was a rejection."""
        order, event_id, settings = prepared, delivery.event.id, delivery.ctx.settings
        rejected = order.status is Status.REJECTED
        if rejected:
            message = rejection(order, order.reject_reasons, event_id=event_id, settings=settings)
        else:
            message = confirmation(order, event_id=event_id, settings=settings)
        await self._mailer.send(message)
        return {"message_id": message["Message-ID"], "rejected": rejected}

    async def is_away(self) -> bool:
        """The mail server opens no session."""
        return await self._mailer.is_away()

    async def conclude(self, delivery: Delivery, tx: AsyncConnection, journal: Mapping[str, Any]) -> None:
        """A confirmation is one of the joined steps; nothing follows a rejection."""
        if not journal["rejected"]:
            await joined_step_done(delivery, tx)

    async def close(self) -> None:
        """Close the connection to the mail server."""
        await self._mailer.close()


STEP_CLASS = SendConfirmationEmail
