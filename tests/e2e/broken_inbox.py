"""`waybill` with an inbox that forgets: what is done is claimed again as if it were new. A proof must notice."""

from typing import Any
from uuid import uuid4

from ops.cli import main
from outbox import inbox
from outbox.inbox import Claim, Refusal, Refused

sound_claim, sound_finish_at_once = inbox.claim, inbox.finish_at_once


async def claim(tx: Any, consumer: str, event: Any, *rest: Any) -> Claim | Refused:
    claimed = await sound_claim(tx, consumer, event, *rest)
    forgotten = isinstance(claimed, Refused) and claimed.why is Refusal.DUPLICATE
    return Claim(consumer, event, uuid4()) if forgotten else claimed


async def finish_at_once(tx: Any, consumer: str, event: Any, *rest: Any) -> Claim | Refused:
    claimed = await sound_finish_at_once(tx, consumer, event, *rest)
    forgotten = isinstance(claimed, Refused) and claimed.why is Refusal.DUPLICATE
    return Claim(consumer, event) if forgotten else claimed


if __name__ == "__main__":
    inbox.claim, inbox.finish_at_once = claim, finish_at_once  # type: ignore[assignment]
    main()
