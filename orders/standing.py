"""Where an order stands on its way to an effect: the first step that is not done, and why not. Pure.

The steps that come before another are read from the table of steps: those that emit what it listens to.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

from orders.model import StepProgress, StepState
from orders.workflow import BY_QUEUE, STEPS, Step

REJECTED = "order.rejected"
LONGEST_ERROR = 200  # characters of an error that are shown


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter of an order: the newest of its queue and event type."""

    number: int
    state: str
    queue: str
    type: str | None
    reason: str
    error: str | None


@dataclass(frozen=True, slots=True)
class Way:
    """How far an order is. Steps and letters by queue and event type; `due` by queue.

    `unread` are its events that the relay has not passed, each with the queue that it is addressed to, None for all.
    """

    steps: Mapping[tuple[str, str], StepProgress] = field(default_factory=dict)
    letters: Sequence[Letter] = ()
    due: Mapping[str, datetime] = field(default_factory=dict)
    unread: AbstractSet[tuple[str, str | None]] = frozenset()


def where_it_stands(step: Step, event_type: str, way: Way, now: datetime) -> str:
    """The first step on the way to this one that is not done, and why not."""
    for before, its_event in path_to(step, event_type):
        stands = _at(before, its_event, way, now)
        if stands is not None:
            return stands if before is step else f"waits for {before.queue}: {stands}"
    return f"{step.queue} is done"


def path_to(step: Step, event_type: str) -> list[tuple[Step, str]]:
    """The steps that must be done before this one's event is recorded, in order of the workflow, and the step itself.

    Each with the event that it reacts to. What was rejected has come to its end already: only telling it is left.
    """
    path: dict[str, tuple[Step, str]] = {}
    if event_type != REJECTED:
        for before in STEPS:
            if event_type in before.emits:
                path.update({one.queue: (one, kind) for one, kind in path_to(before, heard(before))})
    path[step.queue] = (step, event_type)
    return list(path.values())


def heard(step: Step) -> str:
    """The event that a step reacts to on an order's way to its completion."""
    return next(kind for kind in step.listens_to if kind != REJECTED)


def _at(step: Step, event_type: str, way: Way, now: datetime) -> str | None:
    """Where one step stands; None if it is done."""
    known = way.steps.get((step.queue, event_type))
    if known is not None and known.state is StepState.DONE:
        return None
    letter = _letter(step, event_type, way)
    if letter is not None and letter.state == "open":
        return f"given up: dead letter {letter.number} in {letter.queue} ({letter.reason}){_last(letter.error)}"
    if known is None or known.state is StepState.PENDING:
        return f"not begun: {_on_its_way(step, event_type, way, now)}"
    if known.state is StepState.DEAD:
        return _given_up(step, event_type, way, known, letter, now)
    if known.state is StepState.RUNNING:
        return f"running in {step.queue}, attempt {known.attempt}"
    due = "" if known.next_try_at is None else f", next try {clock(known.next_try_at, now)}"
    return f"waiting in {step.queue}, attempt {known.attempt}{due}{_last(known.error)}"


def _given_up(step: Step, event_type: str, way: Way, known: StepProgress, letter: Letter | None, now: datetime) -> str:
    if letter is None:
        uncollected = f"given up in {step.queue} after attempt {known.attempt}, its letter is not collected yet"
        return uncollected + _last(known.error)
    if letter.state == "discarded":
        return f"given up: dead letter {letter.number} in {letter.queue} was discarded{_last(letter.error)}"
    return f"dead letter {letter.number} in {letter.queue} is replayed: {_on_its_way(step, event_type, way, now)}"


def _on_its_way(step: Step, event_type: str, way: Way, now: datetime) -> str:
    if step.queue in way.due:
        return f"its event is due {clock(way.due[step.queue], now)}"
    if way.unread & {(event_type, None), (event_type, step.queue)}:
        return "its event waits in the outbox"
    return f"its event is in queue {step.queue}"


def _letter(step: Step, event_type: str, way: Way) -> Letter | None:
    """The newest letter of a step, or of its event, which the relay could not publish; an open one first."""
    of_step = [
        letter
        for letter in way.letters
        if letter.type in {event_type, None} and (letter.queue == step.queue or letter.queue not in BY_QUEUE)
    ]
    return max(of_step, key=lambda letter: (letter.state == "open", letter.number), default=None)


def _last(error: str | None) -> str:
    return f", last error {' '.join(error.split())[:LONGEST_ERROR]}" if error else ""


def clock(moment: datetime, now: datetime) -> str:
    """A time as a person reads it: without the day where it is today's."""
    return f"{moment:%H:%M:%S}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M:%S}"
