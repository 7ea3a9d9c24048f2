"""A claim's lease, renewed while a step acts on the outside world; whoever cannot renew it is stopped in time.

A holder acts only for as long as its own clock says that nobody else can have the lease: until `margin_seconds` before
the end of the last one that Postgres confirmed, counted from when it was asked for. So a holder that has lost Postgres
stops by itself, and what it has set off outside is over by the time another one may look.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from consumers.delivery.transactions import Transactions
from outbox import inbox
from outbox.inbox import Claim, LeaseLostError

RENEWALS = 6  # within one lease: some may fail before it matters


@contextlib.asynccontextmanager
async def lease_renewed(
    transactions: Transactions, claim: Claim, lease_seconds: float, asked_at: float, margin_seconds: float = 0.0
) -> AsyncIterator[None]:
    """Renew while the body runs. `asked_at`: when the claim was asked for, by the clock of the loop.

    The body is ended with LeaseLostError when the lease is lost, or cannot be renewed in time.
    """
    loop = asyncio.get_running_loop()
    body = asyncio.current_task()
    assert body is not None, "a coroutine runs in a task"
    lost: list[LeaseLostError] = []

    async def renew() -> None:
        confirmed = asked_at
        try:
            while True:
                await asyncio.sleep(lease_seconds / RENEWALS)
                asked = loop.time()
                async with asyncio.timeout_at(confirmed + lease_seconds - margin_seconds):
                    await transactions.run(lambda tx: inbox.renew(tx, claim, lease_seconds), patient=True)
                confirmed = asked
        except LeaseLostError as error:
            lost.append(error)
        except Exception as error:  # noqa: BLE001 - whatever keeps it from being renewed
            lost.append(LeaseLostError(f"{claim.consumer} could not renew its lease: {type(error).__name__}: {error}"))
        body.cancel()

    renewing = asyncio.create_task(renew())
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
