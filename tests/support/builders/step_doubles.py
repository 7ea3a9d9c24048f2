"""Step doubles: they fail, wait or count."""
# ruff: noqa: ARG002 - the arguments are those of every step

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.delivery import Delivery
from consumers.delivery.step_kinds import LocalStep, OutsideStep, RecordingStep
from outbox.inbox import Claim

REFERENCE = text("UPDATE orders SET sap_document = coalesce(sap_document, '') || 'x' WHERE id = :id")


class Failing(LocalStep):
    """Has an effect, and then raises."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.before_raising: Callable[[], None] = lambda: None

    async def apply(self, delivery: Delivery, tx: AsyncConnection) -> None:
        await tx.execute(REFERENCE, {"id": delivery.order_id})
        if self.error is not None:
            self.before_raising()
            raise self.error


class Unrecorded(RecordingStep):
    """Keeps nothing."""

    async def record(self, delivery: Delivery, tx: AsyncConnection) -> bool:
        raise RuntimeError("no room")


class Pausing(LocalStep):
    """Has an effect, reports it, and continues when the test allows it."""

    def __init__(self) -> None:
        self.started, self.may_end, self.runs = asyncio.Event(), asyncio.Event(), 0

    async def apply(self, delivery: Delivery, tx: AsyncConnection) -> None:
        self.runs += 1
        await tx.execute(REFERENCE, {"id": delivery.order_id})
        self.started.set()
        await self.may_end.wait()
        await tx.execute(REFERENCE, {"id": delivery.order_id})


class Acting(OutsideStep):
    """Counts its calls; has its effect, reports it, and returns when the test allows it."""

    def __init__(self, *, waits: bool = True) -> None:
        self.started, self.may_end, self.stopped = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.claims: list[Claim] = []
        self.concluded = 0
        if not waits:
            self.may_end.set()

    async def prepare(self, delivery: Delivery, tx: AsyncConnection) -> None:
        """Needs nothing."""

    async def perform(self, delivery: Delivery, prepared: None) -> dict[str, Any]:
        self.claims.append(delivery.claim)
        self.started.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.stopped.set()
            raise
        return {"performed": len(self.claims)}

    async def conclude(self, delivery: Delivery, tx: AsyncConnection, journal: Mapping[str, Any]) -> None:
        self.concluded += 1
        await tx.execute(REFERENCE, {"id": delivery.order_id})
