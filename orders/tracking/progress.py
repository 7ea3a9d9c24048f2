"""The progress of one order: the steps that it waits for, and why each is not done. Pure.

The table of steps gives the steps before another: those that emit the events that it listens to.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

from orders import workflow
from orders.events import EVENT_TYPES
from orders.model import Status, StepProgress, StepState
from orders.workflow import BY_NAME, BY_QUEUE, Step, emitters_of, joined_steps

REJECTED = "order.rejected"
LONGEST_ERROR = 200  # characters of an error that are shown
_STARTING = ("order.placed",)
_LAST = BY_NAME["finalize_order"]
_REJECTION_EMAIL = BY_NAME["send_confirmation_email"]


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


def blocking_step(step: Step, event_type: str, progress: OrderProgress, now: datetime) -> str:
    """The first step on the way to this one that is not done, and why not."""
    for before, its_event in path_to(step, event_type):
        blocked = _blocked_by(before, its_event, progress, now)
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
        text = _blocked_by(step, event_type, progress, now)
        before = path_to(step, event_type)[:-1]
        if text is not None and all(_blocked_by(one, kind, progress, now) is None for one, kind in before):
            pending.append(PendingStep(step, event_type, text))
    return pending + _untracked(progress)


def _way_to_the_end(status: Status) -> list[tuple[Step, str]]:
    if status is Status.COMPLETED:
        return []
    return path_to(_REJECTION_EMAIL, REJECTED) if status is Status.REJECTED else path_to(_LAST, trigger_of(_LAST))


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
        PendingStep(step, dead_letter.type, _open(dead_letter))
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


def _blocked_by(step: Step, event_type: str, progress: OrderProgress, now: datetime) -> str | None:
    """What blocks one step, in words; None if it is done, or not owed and not begun."""
    known = progress.steps.get((step.queue, event_type))
    if known is not None and known.state is StepState.DONE:
        return None
    dead_letter = _dead_letter(step, event_type, progress)
    if known is None and dead_letter is None and _joined_later(step, event_type, progress):
        return None
    if dead_letter is not None and dead_letter.state == "open":
        return _open(dead_letter)
    if (
        dead_letter is not None
        and dead_letter.state == "discarded"
        and _was_the_last(dead_letter, step, event_type, progress, now)
    ):
        return _discarded(dead_letter)
    return _by_its_row(step, event_type, progress, known, dead_letter, now)


def _joined_later(step: Step, event_type: str, progress: OrderProgress) -> bool:
    """Whether a joined step is not among those that the order was placed with."""
    return event_type != REJECTED and step.name in joined_steps() and step.name not in progress.open_joins


def _by_its_row(
    step: Step,
    event_type: str,
    progress: OrderProgress,
    known: StepProgress | None,
    dead_letter: OrderDeadLetter | None,
    now: datetime,
) -> str:
    if known is None or known.state is StepState.PENDING:
        return f"not begun: {_on_its_way(step, event_type, progress, now)}"
    if known.state is StepState.DEAD:
        return _dead_lettered(step, event_type, progress, known, dead_letter, now)
    if known.state is StepState.RUNNING:
        return _running(step, event_type, progress, known, dead_letter, now)
    return f"waiting in {step.queue}, attempt {known.attempt}{_next_attempt(step, event_type, progress, known, now)}"


def _was_the_last(
    dead_letter: OrderDeadLetter, step: Step, event_type: str, progress: OrderProgress, now: datetime
) -> bool:
    """Whether the step has no other message or attempt than a dead letter, whatever its row says.

    For an unreadable message, or one that the broker or the relay dead-lettered, no step's code ran: its row is
    unchanged.
    """
    until = (progress.leases or {}).get(step.queue)
    on_its_way = _due(step, event_type, progress) is not None or _unread(step, event_type, progress)
    return not (
        on_its_way or (until is not None and until > now) or _attempted_after(dead_letter, step, event_type, progress)
    )


def _attempted_after(dead_letter: OrderDeadLetter, step: Step, event_type: str, progress: OrderProgress) -> bool:
    generation = progress.generations.get((step.queue, event_type))
    return generation is not None and dead_letter.generation is not None and generation > dead_letter.generation


def _running(
    step: Step,
    event_type: str,
    progress: OrderProgress,
    known: StepProgress,
    dead_letter: OrderDeadLetter | None,
    now: datetime,
) -> str:
    """A running step has a lease. Without one its worker was lost, and its message was redelivered or dead-lettered."""
    runs = f"running in {step.queue}, attempt {known.attempt}"
    if progress.leases is None:
        return runs
    until = progress.leases.get(step.queue)
    if until is None and dead_letter is not None and dead_letter.state == "replayed":
        return _replayed(step, event_type, progress, dead_letter, now)
    if until is None:
        lost = f"attempt {known.attempt} in {step.queue} never ended"
        return f"{lost}: {_on_its_way(step, event_type, progress, now)}"
    if until > now:
        return f"{runs}, its lease ends {clock(until, now)}"
    return f"{runs}, its lease ran out {clock(until, now)}: its worker is gone, the next delivery takes it"


def _next_attempt(step: Step, event_type: str, progress: OrderProgress, known: StepProgress, now: datetime) -> str:
    """The time of the next attempt. One that is due and has not begun waits for its worker, which may have paused."""
    due = known.next_attempt_at
    if due is None or due > now:
        when = "" if due is None else f", next attempt {clock(due, now)}"
    else:
        when = f", due since {clock(due, now)}: {_on_its_way(step, event_type, progress, now)}"
    return when + _last(known.error)


def _dead_lettered(
    step: Step,
    event_type: str,
    progress: OrderProgress,
    known: StepProgress,
    dead_letter: OrderDeadLetter | None,
    now: datetime,
) -> str:
    if dead_letter is None or _attempted_after(dead_letter, step, event_type, progress):
        uncollected = (
            f"dead-lettered in {step.queue} after attempt {known.attempt}, its dead letter is not collected yet"
        )
        return uncollected + _last(known.error)
    if dead_letter.state == "discarded":
        return _discarded(dead_letter)
    return _replayed(step, event_type, progress, dead_letter, now)


def _open(dead_letter: OrderDeadLetter) -> str:
    return f"{_named(dead_letter)} is open ({dead_letter.reason}){_last(dead_letter.error)}"


def _discarded(dead_letter: OrderDeadLetter) -> str:
    return f"{_named(dead_letter)} was discarded{_last(dead_letter.error)}"


def _replayed(step: Step, event_type: str, progress: OrderProgress, dead_letter: OrderDeadLetter, now: datetime) -> str:
    return f"{_named(dead_letter)} is replayed: {_on_its_way(step, event_type, progress, now)}"


def _named(dead_letter: OrderDeadLetter) -> str:
    return f"dead letter {dead_letter.number} in {dead_letter.queue}"


def _on_its_way(step: Step, event_type: str, progress: OrderProgress, now: datetime) -> str:
    due = _due(step, event_type, progress)
    if due is not None:
        return f"its event is due {clock(due, now)}" if due > now else "its event is due, the relay has not moved it"
    if _unread(step, event_type, progress):
        return "its event waits in the outbox"
    return f"its event is in queue {step.queue}"


def _due(step: Step, event_type: str, progress: OrderProgress) -> datetime | None:
    return min((progress.due[one] for one in _addresses(step, event_type) if one in progress.due), default=None)


def _unread(step: Step, event_type: str, progress: OrderProgress) -> bool:
    return bool(progress.unread & _addresses(step, event_type))


def _addresses(step: Step, event_type: str) -> set[tuple[str, str | None]]:
    """A step's event as it is addressed: to all that listen, or to the step alone."""
    return {(event_type, None), (event_type, step.queue)}


def _dead_letter(step: Step, event_type: str, progress: OrderProgress) -> OrderDeadLetter | None:
    """The newest dead letter of a step, or of its event, which the relay could not publish; an open one first."""
    of_step = [
        dead_letter
        for dead_letter in progress.dead_letters
        if dead_letter.type in {event_type, None}
        and (dead_letter.queue == step.queue or dead_letter.queue not in BY_QUEUE)
    ]
    return max(of_step, key=lambda dead_letter: (dead_letter.state == "open", dead_letter.number), default=None)


def _last(error: str | None) -> str:
    return f", last error {one_line(error)[:LONGEST_ERROR]}" if error else ""


def one_line(text: str | None) -> str:
    """A text on one line: each run of blanks and line ends becomes one blank."""
    return " ".join((text or "").split())


def clock(moment: datetime, now: datetime) -> str:
    """A time for people: without the day if that is today."""
    return f"{moment:%H:%M:%S}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M:%S}"
