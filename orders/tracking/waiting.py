"""The steps that an order waits for: those that are next on its way and not done. Pure.

The table of steps gives the steps before another: those that emit the events that it listens to.
"""

from dataclasses import dataclass
from datetime import datetime

from orders import workflow
from orders.events import EVENT_TYPES
from orders.model import Status
from orders.tracking.order_step import OrderStep, open_text
from orders.tracking.progress import REJECTED, OrderProgress
from orders.workflow import Step, emitters_of, last_steps, rejection_steps

_STARTING = ("order.placed",)


def blocking_step(step: Step, event_type: str, progress: OrderProgress, now: datetime) -> str:
    """The first step on the way to this one that is not done, and why not."""
    for before, its_event in path_to(step, event_type):
        blocked = OrderStep(before, its_event, progress, now).blocked_by()
        if blocked is not None:
            return blocked if before is step else f"waits for {before.queue}: {blocked}"
    return f"{step.queue} is done"


@dataclass(frozen=True, slots=True)
class PendingStep:
    """A step that an order waits for; `text` says what blocks it."""

    step: Step
    event_type: str
    text: str


def waits_for(status: Status, progress: OrderProgress, now: datetime) -> list[PendingStep]:
    """The steps that are next for an order: those before them are done, and they are not.

    Also the open dead letters of untracked steps, such as the audit. A completed or rejected order may wait for a leaf
    step and for such a dead letter.
    """
    pending = []
    for step, event_type in [*_way_to_the_end(status), *leaves_of(status, progress)]:
        text = OrderStep(step, event_type, progress, now).blocked_by()
        before = path_to(step, event_type)[:-1]
        if text is not None and all(OrderStep(one, kind, progress, now).blocked_by() is None for one, kind in before):
            pending.append(PendingStep(step, event_type, text))
    return pending + _untracked(progress)


def _way_to_the_end(status: Status) -> list[tuple[Step, str]]:
    if status is Status.COMPLETED:
        return []
    if status is Status.REJECTED:
        return [(step, REJECTED) for step in rejection_steps()]
    paths = [path_to(step, trigger_of(step)) for step in last_steps()]
    return list(dict.fromkeys(one for path in paths for one in path))  # each step once


def leaves_of(status: Status, progress: OrderProgress) -> list[tuple[Step, str]]:
    """The leaf steps that an order owes, each with the event that it reacts to, as far as its events reach them.

    A rejected order's events are known by the steps that they have started, and so are those of other services. Any
    other order gets each of our events but the rejection.
    """
    rejected = status is Status.REJECTED
    reaching = {kind for _, kind in progress.steps} | ({REJECTED, *_STARTING} if rejected else set(EVENT_TYPES))
    if not rejected:
        reaching -= {REJECTED}
    return [
        (step, kind)
        for step in workflow.STEPS
        if step.name in progress.leaf_steps
        for kind in step.listens_to
        if kind in reaching
    ]


def _untracked(progress: OrderProgress) -> list[PendingStep]:
    """Open dead letters of untracked steps. No step comes after these, and `order_steps` does not record them."""
    return [
        PendingStep(step, dead_letter.type, open_text(dead_letter))
        for step in workflow.STEPS
        if not step.tracked
        for dead_letter in progress.dead_letters
        if dead_letter.queue == step.queue and dead_letter.state == "open" and dead_letter.type is not None
    ]


def path_to(step: Step, event_type: str) -> list[tuple[Step, str]]:
    """The steps that must be done before this one's event is recorded, in order of the workflow, and the step itself.

    Each with the event that it reacts to. For a rejected order only the e-mail about the rejection is left.
    """
    path: dict[str, tuple[Step, str]] = {}
    if event_type != REJECTED:
        for before in emitters_of(event_type):
            path.update({one.queue: (one, kind) for one, kind in path_to(before, trigger_of(before))})
    path[step.queue] = (step, event_type)
    return list(path.values())


def trigger_of(step: Step) -> str:
    """The event that a step reacts to on an order's way to its completion."""
    return next(kind for kind in step.listens_to if kind != REJECTED)
