"""The three kinds of step, and what a step may raise.

A `LocalStep` changes Postgres only: its effect, its inbox row and its next event are one transaction. An `OutsideStep`
first acts on the outside world with no transaction open, under a lease, and then writes down what came back together
with its next event. A `RecordingStep` keeps a row that is its own inbox row.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.context import Workplace
from orders import repository
from orders.model import Order
from orders.workflow import ErrorKind
from outbox.envelope import Event
from outbox.inbox import Claim
from runtime.log_context import redact


class StepError(Exception):
    """A step could not do its work; the text says why, and `kind` whether another try may help.

    A next try is not before `wait_seconds` have passed.
    """

    def __init__(self, message: str, wait_seconds: float = 0.0, *, kind: ErrorKind = ErrorKind.UNEXPECTED) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds
        self.kind = kind


class LocalStep(ABC):
    """A step with local effects only."""

    @abstractmethod
    async def apply(self, place: Workplace, tx: AsyncConnection, order_id: UUID, event: Event) -> None:
        """Have the effect in the caller's transaction."""


class OutsideStep(ABC):
    """A step that acts on the outside world."""

    @abstractmethod
    async def prepare(self, place: Workplace, tx: AsyncConnection, order_id: UUID) -> Any:  # noqa: ANN401 - its own
        """What `perform` needs from Postgres, in the transaction of the claim, which waits while Postgres is away."""

    @abstractmethod
    async def perform(self, place: Workplace, prepared: Any, claim: Claim) -> dict[str, Any]:  # noqa: ANN401
        """Have the effect, looking first where one can: it may be there already. What came back goes into the journal.

        Asks nothing of Postgres: a database that goes away meanwhile must not cost a try.
        """

    async def away(self, place: Workplace) -> bool:  # noqa: ARG002 - for those who have somebody to ask
        """Whether the outside world as a whole is away: asked after a failure, which is no try then."""
        return False

    @abstractmethod
    async def conclude(self, place: Workplace, tx: AsyncConnection, order_id: UUID, journal: Mapping[str, Any]) -> None:
        """Write the effect down in the caller's transaction."""


class RecordingStep(ABC):
    """A step whose row is its own inbox row."""

    @abstractmethod
    async def record(self, place: Workplace, tx: AsyncConnection, order_id: UUID, event: Event) -> bool:
        """Keep the row; False when it was there before."""


async def order_of(tx: AsyncConnection, order_id: UUID) -> Order:
    """The order a step works on. Raises StepError: an event without its order is somebody's mistake."""
    order = await repository.get(tx, order_id)
    if order is None:
        raise StepError(f"order {order_id} does not exist", kind=ErrorKind.BAD_DATA)
    redact(*order.customer.private)
    return order
