"""Claim and finish: the two transactions that a claimed delivery consists of, and the one of an unclaimed delivery.

`claim` is committed before the step acts; `finish` commits its effects, its inbox row and its next event together, and
only by the claim's own token. `finish_at_once` does the same without a claim, in the caller's transaction. Called by
the kinds of step (`consumers.delivery.step_kinds`).
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery import attempt_log
from consumers.delivery.delivery import Delivery
from consumers.delivery.error_kinds import KilledWorkerError
from consumers.delivery.limits import lease_seconds
from outbox import inbox
from outbox.inbox import Claim, Refused

Prepare = Callable[[Delivery, AsyncConnection], Awaitable[Any]]
Effect = Callable[[AsyncConnection], Awaitable[None]]


class NotRunnableError(Exception):
    """The inbox refuses the delivery. `consumers.delivery.pipeline` turns `refused` into the delivery's result."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.reason.value)
        self.refused = refused


async def claim(delivery: Delivery, prepare: Prepare | None = None) -> Any:  # noqa: ANN401 - the step's own
    """Claim the delivery and commit; the result of `prepare`, which ran in the same transaction.

    Raises NotRunnableError; KilledWorkerError when earlier claims ended with their workers.
    """
    claimed, prepared = await delivery.ctx.transactions.run(partial(_claim, delivery, prepare))
    delivery.claim, delivery.journal = claimed, claimed.journal
    if claimed.claims > inbox.MAX_CLAIMS:
        raise KilledWorkerError(f"claimed {inbox.MAX_CLAIMS} times and never finished")
    return prepared


async def finish(delivery: Delivery, effect: Effect, journal: Mapping[str, Any]) -> None:
    """Commit the effects of a claimed delivery. Raises LeaseLostError.

    The inbox row comes first: it keeps other workers out until the transaction ends.
    """
    await delivery.ctx.transactions.run(partial(_finish, delivery, effect, journal))


async def finish_at_once(tx: AsyncConnection, delivery: Delivery, effect: Effect | None = None) -> None:
    """Finish an unclaimed delivery with its effects in the caller's transaction. Raises NotRunnableError."""
    claimed = _runnable(await inbox.finish_at_once(tx, delivery.step.queue, delivery.event))
    if effect is not None:
        await effect(tx)
    await attempt_log.done(tx, delivery, claimed)


async def _claim(delivery: Delivery, prepare: Prepare | None, tx: AsyncConnection) -> tuple[Claim, Any]:
    delivery.start_clock()
    seconds = lease_seconds(delivery.step, delivery.ctx.settings)
    claimed = _runnable(await inbox.claim(tx, delivery.step.queue, delivery.event, seconds))
    await attempt_log.started(tx, delivery, claimed)
    if prepare is None or claimed.journal is not None:  # a journal says that the outside effect is there already
        return claimed, None
    return claimed, await prepare(delivery, tx)


async def _finish(delivery: Delivery, effect: Effect, journal: Mapping[str, Any], tx: AsyncConnection) -> None:
    await inbox.finish(tx, delivery.claim, journal)
    await effect(tx)
    await attempt_log.done(tx, delivery, delivery.claim)


def _runnable(claimed: Claim | Refused) -> Claim:
    if isinstance(claimed, Refused):
        raise NotRunnableError(claimed)
    return claimed
