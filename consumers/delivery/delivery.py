"""One delivery of an event to a step: the object that passes through the pipeline.

`consumers.delivery.pipeline` makes it. The step's kind (`consumers.delivery.step_kinds`) runs it, and three fields
change on the way: a claim is committed, the outside effect comes back with a journal, and the clock starts anew with
each claim that is asked for.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from consumers.delivery.context import WorkerContext
from orders.workflow import Step
from outbox.envelope import Event
from outbox.inbox import Claim


@dataclass(slots=True)
class Delivery:
    """`redelivered`: the broker has given the message to a worker before, and that one did not answer for it.

    `claim` has a token as soon as a claim is committed. `journal` is the result of the outside effect, from this
    attempt or an earlier one; None until there is one. `started_at`, by the clock of the event loop: the time from
    which an unclaimed attempt lasts and from which a lease counts.
    """

    event: Event
    order_id: UUID
    step: Step
    ctx: WorkerContext
    redelivered: bool = False
    claim: Claim = field(init=False)
    journal: Mapping[str, Any] | None = field(init=False, default=None)
    started_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.claim = Claim(self.step.queue, self.event)
        self.start_clock()

    def start_clock(self) -> None:
        """Count from now."""
        self.started_at = asyncio.get_running_loop().time()

    @property
    def is_claimed(self) -> bool:
        """Whether a claim is committed."""
        return self.claim.token is not None
