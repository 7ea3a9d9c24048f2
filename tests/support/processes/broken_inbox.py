"""`waybill` with an inbox that forgets: what is done is claimed again as if it were new. A proof must notice.

Every delivery comes twice, as a broker may do it at any time: a sound inbox makes nothing of that.
"""

from typing import Any
from uuid import uuid4

from consumers.delivery.pipeline import StepRunner
from consumers.delivery.result import DeliveryResult
from ops.cli.main import main
from outbox import inbox
from outbox.inbox import Claim, Refusal, Refused

sound_claim, sound_finish_at_once, sound_deliver = inbox.claim, inbox.finish_at_once, StepRunner.deliver


async def claim(tx: Any, consumer: str, event: Any, *rest: Any) -> Claim | Refused:
    claimed = await sound_claim(tx, consumer, event, *rest)
    forgotten = isinstance(claimed, Refused) and claimed.reason is Refusal.DUPLICATE
    return Claim(consumer, event, uuid4()) if forgotten else claimed


async def finish_at_once(tx: Any, consumer: str, event: Any, *rest: Any) -> Claim | Refused:
    claimed = await sound_finish_at_once(tx, consumer, event, *rest)
    forgotten = isinstance(claimed, Refused) and claimed.reason is Refusal.DUPLICATE
    return Claim(consumer, event) if forgotten else claimed


async def deliver_twice(self: StepRunner, event: Any, *, redelivered: bool = False) -> DeliveryResult:
    await sound_deliver(self, event, redelivered=redelivered)
    return await sound_deliver(self, event, redelivered=redelivered)


if __name__ == "__main__":
    StepRunner.deliver = deliver_twice  # type: ignore[method-assign]
    inbox.claim, inbox.finish_at_once = claim, finish_at_once  # type: ignore[assignment]
    main()
