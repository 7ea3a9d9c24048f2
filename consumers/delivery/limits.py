"""The time limits of a step: its own, its lease's, and the longest commit of the system that it calls."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from consumers.delivery.delivery import Delivery
from consumers.delivery.error_kinds import StepError
from orders.workflow import ErrorKind, Step, pool_of
from runtime.settings import Settings


def commit_wait_seconds(step: Step, settings: Settings) -> float:
    """How long the other side may still commit a request whose worker is gone. After that a look-up is final."""
    setting = pool_of(step).commit_wait
    return float(getattr(settings, setting)) if setting else 0.0


def lease_seconds(step: Step, settings: Settings) -> float:
    """The length of a claim's lease.

    At least half of it is left for the other side's commit: a worker that dies or loses Postgres has stopped acting by
    the other half (`consumers.delivery.lease`).
    """
    return max(settings.delivery_lease_seconds, 2 * commit_wait_seconds(step, settings))


@contextlib.asynccontextmanager
async def time_limit(delivery: Delivery) -> AsyncIterator[None]:
    """End a body that takes too long. Raises StepError: a bare TimeoutError would read as an absent Postgres."""
    seconds = delivery.step.time_limit_seconds
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        # A call to the other side may have been cut off: its commit there must be over before the next look-up.
        wait = commit_wait_seconds(delivery.step, delivery.ctx.settings)
        raise StepError(f"not done within {seconds} s", wait, kind=ErrorKind.TIMEOUT) from error
