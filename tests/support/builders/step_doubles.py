"""Steps made for tests: they fail, wait or count as they are told."""
# ruff: noqa: ARG002 - the arguments are those of every step

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.context import Workplace
from consumers.delivery.step_kinds import LocalStep, OutsideStep, RecordingStep
from outbox.envelope import Event
from outbox.inbox import Claim

REFERENCE = text("UPDATE orders SET sap_document = coalesce(sap_document, '') || 'x' WHERE id = :id")


class Failing(LocalStep):
    """Has an effect, and then raises."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.before_raising: Callable[[], None] = lambda: None

    async def apply(self, place: Workplace, tx: AsyncConnection, order_id: UUID, event: Event) -> None:
        await tx.execute(REFERENCE, {"id": order_id})
        if self.error is not None:
            self.before_raising()
            raise self.error


class Unrecorded(RecordingStep):
    """Keeps nothing."""

    async def record(self, place: Workplace, tx: AsyncConnection, order_id: UUID, event: Event) -> bool:
        raise RuntimeError("no room")


class Pausing(LocalStep):
    """Has an effect, says so, and goes on when it may."""

    def __init__(self) -> None:
        self.begun, self.may_end, self.runs = asyncio.Event(), asyncio.Event(), 0

    async def apply(self, place: Workplace, tx: AsyncConnection, order_id: UUID, event: Event) -> None:
        self.runs += 1
        await tx.execute(REFERENCE, {"id": order_id})
        self.begun.set()
        await self.may_end.wait()
        await tx.execute(REFERENCE, {"id": order_id})


class Acting(OutsideStep):
    """Acts, says so, and comes back when it may; counts."""

    def __init__(self, *, waits: bool = True) -> None:
        self.begun, self.may_end, self.stopped = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.claims: list[Claim] = []
        self.concluded = 0
        if not waits:
            self.may_end.set()

    async def prepare(self, place: Workplace, tx: AsyncConnection, order_id: UUID) -> None:
        """Needs nothing."""

    async def perform(self, place: Workplace, prepared: None, claim: Claim) -> dict[str, Any]:
        self.claims.append(claim)
        self.begun.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.stopped.set()
            raise
        return {"performed": len(self.claims)}

    async def conclude(self, place: Workplace, tx: AsyncConnection, order_id: UUID, journal: Mapping[str, Any]) -> None:
        self.concluded += 1
        await tx.execute(REFERENCE, {"id": order_id})
