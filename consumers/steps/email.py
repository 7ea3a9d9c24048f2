"""Tell the customer: what was ordered, or why the order was rejected.

A mail server cannot be asked what it has taken. A worker that dies between the server's 250 and its own commit makes
the next try send again, with the same Message-ID, by which mail systems recognise a copy.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.adapters.email_texts import confirmation, rejection
from consumers.delivery.context import Workplace
from consumers.delivery.step_kinds import OutsideStep, order_of
from consumers.steps.joined import joined_step_done
from orders.model import Order, Status
from outbox.inbox import Claim


class SendConfirmationEmail(OutsideStep):
    """`order.synced` -> a confirmation; `order.rejected` -> the reasons."""

    async def prepare(self, place: Workplace, tx: AsyncConnection, order_id: UUID) -> Order:  # noqa: ARG002
        """The order to write of."""
        return await order_of(tx, order_id)

    async def perform(self, place: Workplace, prepared: Order, claim: Claim) -> dict[str, Any]:
        """The journal: the Message-ID, and whether it was a rejection."""
        order = prepared
        rejected = order.status is Status.REJECTED
        if rejected:
            message = rejection(order, order.reject_reasons, event_id=claim.event.id, settings=place.settings)
        else:
            message = confirmation(order, event_id=claim.event.id, settings=place.settings)
        await place.mailer.send(message)
        return {"message_id": message["Message-ID"], "rejected": rejected}

    async def away(self, place: Workplace) -> bool:
        """The mail server gives nobody a session."""
        return not await place.mailer.answers()

    async def conclude(self, place: Workplace, tx: AsyncConnection, order_id: UUID, journal: Mapping[str, Any]) -> None:
        """A confirmation is one of the joined steps; a rejection ends the order's way."""
        if not journal["rejected"]:
            await joined_step_done(place, tx, order_id, "send_confirmation_email")
