"""A claim's lease, renewed while a step acts on the outside world; whoever loses it is stopped."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from consumers.transactions import Transactions
from outbox import inbox
from outbox.inbox import Claim, LeaseLostError
from runtime.logging import get_logger

log = get_logger(__name__)


@contextlib.asynccontextmanager
async def lease_renewed(transactions: Transactions, claim: Claim, lease_seconds: float) -> AsyncIterator[None]:
    """Renew while the body runs; a lost lease ends the body with LeaseLostError."""
    body = asyncio.current_task()
    lost: list[LeaseLostError] = []

    async def renew() -> None:
        while True:
            await asyncio.sleep(lease_seconds / 3)
            try:
                await transactions.run(lambda tx: inbox.renew(tx, claim, lease_seconds))
            except LeaseLostError as error:
                lost.append(error)
                if body is not None:
                    body.cancel()
                return

    renewing = asyncio.create_task(renew())
    try:
        yield
    except asyncio.CancelledError:
        if not lost:
            raise
        if body is not None:
            body.uncancel()
        raise lost[0] from None
    finally:
        renewing.cancel()
        # Awaited, so that a renewal cut off in mid-statement has given its connection back.
        ended = (await asyncio.gather(renewing, return_exceptions=True))[0]
        if isinstance(ended, Exception):
            log.warning("lease_not_renewed", reason=f"{type(ended).__name__}: {ended}")
