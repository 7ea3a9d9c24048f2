"""The progress of one order as facts: the states of its steps, its dead letters, its messages on their way. Pure.

Made by `orders.tracking.snapshot` for one order and by `orders.audit.queries` for many. `orders.tracking.order_step`
says what blocks one step by them, `orders.tracking.waiting` which steps the order waits for.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

from orders.model import StepProgress
from orders.workflow import joined_steps

REJECTED = "order.rejected"  # the one event that is not on the way to an order's completion


@dataclass(frozen=True, slots=True)
class OrderDeadLetter:
    """A dead letter of an order; `generation` is the one that died, where that is known."""

    number: int
    state: str
    queue: str
    type: str | None
    reason: str
    error: str | None
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class OrderProgress:
    """The facts about one order's steps, by queue and event type.

    `due` are its scheduled events, `unread` those that the cursor has not advanced past; each with the queue that it is
    addressed to, None for all. `open_joins` and `leaf_steps` are the sets of steps that the order owes
    (`orders.model.Order`). `leases` holds, by queue, the end of the lease on a step's event; None if leases were not
    read. `generations` holds, per step, the next expected generation, or the last one if it was dead-lettered; empty
    when no attempts are recorded.
    """

    steps: Mapping[tuple[str, str], StepProgress] = field(default_factory=dict)
    dead_letters: Sequence[OrderDeadLetter] = ()
    due: Mapping[tuple[str, str | None], datetime] = field(default_factory=dict)
    unread: AbstractSet[tuple[str, str | None]] = frozenset()
    open_joins: AbstractSet[str] = field(default_factory=lambda: frozenset(joined_steps()))
    leaf_steps: AbstractSet[str] = frozenset()
    leases: Mapping[str, datetime] | None = None
    generations: Mapping[tuple[str, str], int] = field(default_factory=dict)
