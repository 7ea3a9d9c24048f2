"""A step with local effects whose delivery is claimed before it runs, because somebody had it before.

Its transaction alone leaves no trace of a worker that dies in it. So what is delivered again counts its claims like an
effect outside: a poison message ends in its dead-letter queue after the third of them, and not at the broker's delivery
limit after the twentieth child.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.context import Workplace
from consumers.delivery.step_kinds import LocalStep, OutsideStep
from outbox.envelope import Event
from outbox.inbox import Claim


class ClaimedFirst(OutsideStep):
    """One redelivery of a local step. Nothing happens outside; the effect is its conclusion."""

    def __init__(
        self,
        reaction: LocalStep,
        event: Event,
        time_limit: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        self._reaction = reaction
        self._event = event
        self._time_limit = time_limit

    async def prepare(self, place: Workplace, tx: AsyncConnection, order_id: UUID) -> None:
        """Nothing: the effect's own transaction reads what it needs."""

    async def perform(self, place: Workplace, prepared: None, claim: Claim) -> dict[str, Any]:  # noqa: ARG002
        """Nothing."""
        return {}

    async def conclude(
        self,
        place: Workplace,
        tx: AsyncConnection,
        order_id: UUID,
        journal: Mapping[str, Any],  # noqa: ARG002
    ) -> None:
        """Have the effect. The row that this transaction has finished keeps others out until it commits."""
        async with self._time_limit():
            await self._reaction.apply(place, tx, order_id, self._event)
