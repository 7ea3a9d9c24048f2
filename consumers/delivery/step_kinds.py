"""The three kinds of step. Each kind runs a delivery by itself; a step fills in its effect.

A `LocalStep` changes Postgres only: its effect, its inbox row and its next event are one transaction. An `OutsideStep`
first acts on the outside world with no transaction open, under a lease, and then writes the result down together with
its next event. A `RecordingStep` keeps a row that is its own inbox row.

A kind raises when the delivery does not end with its effect; `consumers.delivery.pipeline` calls `run` and handles
every error. A step makes its adapters in `open`, which each child calls once after the fork, and closes them in
`close`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Self

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.claim import NotRunnableError, claim, finish, finish_at_once
from consumers.delivery.delivery import Delivery
from consumers.delivery.error_kinds import kind_of
from consumers.delivery.lease import lease_renewed
from consumers.delivery.limits import time_limit
from consumers.delivery.result import DeliveryResult
from orders.workflow import ErrorKind
from outbox.inbox import Refusal
from runtime.log_context import bind_attempt
from runtime.logging import get_logger
from runtime.settings import Settings

# After these errors a probe of the other side is worthwhile. A refusal is among them: a password that has expired is
# refused for every order.
MAY_MEAN_OUTAGE = frozenset(
    {ErrorKind.CONNECTION, ErrorKind.TIMEOUT, ErrorKind.SERVER, ErrorKind.THROTTLED, ErrorKind.REFUSED}
)

log = get_logger(__name__)


class StepKind(ABC):
    """The interface between a step and the pipeline."""

    @classmethod
    def open(cls, settings: Settings) -> Self:  # noqa: ARG003 - for steps with adapters
        """The step with its adapters. Nothing connects yet."""
        return cls()

    @abstractmethod
    async def run(self, delivery: Delivery) -> DeliveryResult:
        """Have the effect of one delivery and commit it. Raises whatever keeps it from that."""

    async def is_away(self) -> bool:
        """Probe the other side: whether it is away as a whole. Also called by the worker's circuit."""
        return False

    async def finds_outage(self, delivery: Delivery, error: Exception) -> bool:  # noqa: ARG002 - for outside effects
        """Whether a failed attempt failed because the other side is away as a whole: then it is no attempt."""
        return False

    async def close(self) -> None:  # noqa: B027 - for steps with adapters
        """Close the adapters."""


class LocalStep(StepKind):
    """A step with local effects only.

    Its transaction alone leaves no trace of a worker that dies in it. So a redelivery, and a delivery that another
    worker has claimed before, are claimed first: their claims are counted, and a poison message ends in its dead-letter
    queue after the third claim, not at the broker's delivery limit after the twentieth child.
    """

    @abstractmethod
    async def apply(self, delivery: Delivery, tx: AsyncConnection) -> None:
        """Have the effect in the caller's transaction."""

    async def run(self, delivery: Delivery) -> DeliveryResult:
        """Apply at once where no worker can have died with this delivery, otherwise under a claim."""
        if delivery.redelivered or not await self._applied_at_once(delivery):
            await claim(delivery)
            await finish(delivery, partial(self._apply_in_time, delivery), {})
        return DeliveryResult.DONE

    async def _applied_at_once(self, delivery: Delivery) -> bool:
        """Apply without a claim; False if another worker has claimed the delivery, and may have died."""
        effect = partial(self._apply_in_time, delivery)
        try:
            await delivery.ctx.transactions.run(lambda tx: finish_at_once(tx, delivery, effect))
        except NotRunnableError as error:
            if error.refused.reason is not Refusal.BUSY:
                raise
            return False
        return True

    async def _apply_in_time(self, delivery: Delivery, tx: AsyncConnection) -> None:
        async with time_limit(delivery):
            await self.apply(delivery, tx)


class OutsideStep(StepKind):
    """A step that acts on the outside world."""

    @abstractmethod
    async def prepare(self, delivery: Delivery, tx: AsyncConnection) -> Any:  # noqa: ANN401 - its own
        """Read for `perform` from Postgres, in the transaction of the claim, which waits while Postgres is away."""

    @abstractmethod
    async def perform(self, delivery: Delivery, prepared: Any) -> dict[str, Any]:  # noqa: ANN401
        """Have the effect, and return the journal. An effect that can be looked up is: it may be there already.

        Uses no Postgres: a database that goes away meanwhile must not cost an attempt.
        """

    @abstractmethod
    async def conclude(self, delivery: Delivery, tx: AsyncConnection, journal: Mapping[str, Any]) -> None:
        """Write the effect down in the caller's transaction."""

    async def run(self, delivery: Delivery) -> DeliveryResult:
        """Claim, act, finish. A journal of an earlier attempt is written down without acting again."""
        prepared = await claim(delivery, self.prepare)
        journal = await self._performed(delivery, prepared)
        await finish(delivery, lambda tx: self.conclude(delivery, tx, journal), journal)
        return DeliveryResult.DONE

    async def _performed(self, delivery: Delivery, prepared: Any) -> Mapping[str, Any]:  # noqa: ANN401
        """The journal of an earlier attempt, or of this one."""
        if delivery.journal is None:
            async with lease_renewed(delivery), time_limit(delivery):
                delivery.journal = await self.perform(delivery, prepared)
        return delivery.journal

    async def finds_outage(self, delivery: Delivery, error: Exception) -> bool:
        """Probe after a failure of `perform` that an outage explains. A probe that breaks proves nothing."""
        acting = delivery.is_claimed and delivery.journal is None
        if not acting or kind_of(error) not in MAY_MEAN_OUTAGE:
            return False
        try:
            return await self.is_away()
        except Exception as failed:  # noqa: BLE001 - a broken probe must not end the attempt
            log.warning("probe_failed", step=delivery.step.name, error=f"{type(failed).__name__}: {failed}")
            return False


class RecordingStep(StepKind):
    """A step whose row is its own inbox row. It takes no claims."""

    @abstractmethod
    async def record(self, delivery: Delivery, tx: AsyncConnection) -> bool:
        """Keep the row; False when it was there before."""

    async def run(self, delivery: Delivery) -> DeliveryResult:
        """Keep the row. A first recording is one statement, which needs no BEGIN and COMMIT around it."""
        first = delivery.event.generation == 1
        if first:
            bind_attempt(1)
        work = self.record if first else self._record_again
        fresh = await delivery.ctx.transactions.run(partial(work, delivery), one_statement=first)
        return DeliveryResult.DONE if fresh else DeliveryResult.DUPLICATE

    async def _record_again(self, delivery: Delivery, tx: AsyncConnection) -> bool:
        """Record after a failed attempt, which left an inbox row and a step of the order: both are closed as well."""
        with suppress(NotRunnableError):  # they are closed already
            await finish_at_once(tx, delivery)
        return await self.record(delivery, tx)
