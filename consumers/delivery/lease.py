"""The lease of a claim, renewed while a step acts on the outside world.

A holder acts only while its own clock says that no other worker can have the lease: until the other side's longest
commit before the end of the last lease that Postgres confirmed, counted from when it was asked for. So a holder that
has lost Postgres stops by itself, and its last request to the other side is over by the time another worker may claim.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from consumers.delivery.delivery import Delivery
from consumers.delivery.limits import commit_wait_seconds, lease_seconds
from outbox import inbox
from outbox.inbox import LeaseLostError

RENEWALS = 6  # within one lease: some may fail before it matters


@contextlib.asynccontextmanager
async def lease_renewed(delivery: Delivery) -> AsyncIterator[None]:
    """Renew the lease while the body runs.

    The body is ended with LeaseLostError when the lease is lost, or cannot be renewed in time.
    """
    body = asyncio.current_task()
    assert body is not None, "a coroutine runs in a task"
    lost: list[LeaseLostError] = []
    renewing = asyncio.create_task(_renew_until_lost(delivery, body, lost))
    try:
        try:
            yield
        finally:
            renewing.cancel()
            # Awaited, so that a renewal cut off in mid-statement has given its connection back.
            await asyncio.gather(renewing, return_exceptions=True)
    except asyncio.CancelledError:
        if not lost:
            raise
        body.uncancel()
        raise lost[0] from None


async def _renew_until_lost(delivery: Delivery, body: "asyncio.Task[object]", lost: list[LeaseLostError]) -> None:
    try:
        await _renew(delivery)
    except LeaseLostError as error:
        lost.append(error)
    except Exception as error:  # noqa: BLE001 - whatever keeps it from being renewed
        consumer = delivery.claim.consumer
        lost.append(LeaseLostError(f"{consumer} could not renew its lease: {type(error).__name__}: {error}"))
    body.cancel()


async def _renew(delivery: Delivery) -> None:
    seconds = lease_seconds(delivery.step, delivery.ctx.settings)
    margin = commit_wait_seconds(delivery.step, delivery.ctx.settings)
    loop = asyncio.get_running_loop()
    confirmed = delivery.started_at  # when the claim was asked for
    while True:
        await asyncio.sleep(seconds / RENEWALS)
        asked = loop.time()
        async with asyncio.timeout_at(confirmed + seconds - margin):
            await delivery.ctx.transactions.run(lambda tx: inbox.renew(tx, delivery.claim, seconds), patient=True)
        confirmed = asked
