"""The timeline of one order: its events, attempts and dead letters in order of time, and what it waits for. Pure.

Times are Postgres's but for three: an order is accepted by the API's clock, an event published and confirmed by the
relay's, and an event that only the audit log remembers was recorded by its writer's clock. Where clocks differ, a
consequence is never shown before its cause. An event's publish and confirm are its page's; a consumer may have received
it between the two. Made of a `snapshot.OrderSnapshot`; shown by the API and `waybill orders show`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from orders.model import Attempt, Order, Status, StepProgress, StepState
from orders.tracking.snapshot import (
    OrderSnapshot,
    acted_at,
    attempts_at,
    committed_at,
    forgotten,
    progress,
    sent_at,
    unpublishable,
)
from orders.tracking.waiting import PendingStep, waits_for
from orders.workflow import BY_NAME
from outbox.envelope import id_time


class EntryKind(StrEnum):
    """The kinds of entries. Entries of one moment are shown in this order."""

    ACCEPTED = "accepted"
    REPLAYED = "replayed"
    COMMITTED = "committed"
    PUBLISHED = "published"
    CONFIRMED = "confirmed"
    ATTEMPT = "attempt"
    DONE = "done"  # of a step whose attempts were not recorded
    REJECTED = "rejected"
    COMPLETED = "completed"
    DEAD_LETTER = "dead_letter"
    DISCARDED = "discarded"
    RESTORED = "restored"


class AttemptOutcome(StrEnum):
    """How an attempt ended, or why it has not."""

    DONE = "done"
    RETRIED = "retried"
    AWAY = "away"
    DEAD = "dead"
    RUNNING = "running"
    LOST = "lost"  # its worker died, or was cut off from Postgres


_ACTIONS = {"replay": EntryKind.REPLAYED, "discard": EntryKind.DISCARDED, "restore": EntryKind.RESTORED}
_RANK = {what: rank for rank, what in enumerate(EntryKind)}


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened; fields that do not apply are None. `gap_ms` has passed since the entry before.

    `event` is an event's type. `generation` is the delivery's, which every retry, outage and replay raises; a first
    message has none here. `attempt` is a step's, counted from 1 since the last replay, without outages. `queue` is
    the one that a message is for, or where a dead letter died. `why` is a dead letter's reason, or an operator's.
    """

    at: datetime
    what: EntryKind
    gap_ms: float | None = None
    event: str | None = None
    queue: str | None = None
    step: str | None = None
    generation: int | None = None
    attempt: int | None = None
    outcome: AttemptOutcome | None = None
    ended_at: datetime | None = None
    duration_ms: float | None = None
    worker: str | None = None
    error: str | None = None
    dead_letter: int | None = None
    actor: str | None = None
    why: str | None = None
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    """The entries, oldest first. `waits_for` is empty when nothing is left to do; `remarks` say which facts are lost.

    `waits_for` names the steps that are next, and events that the audit dead-lettered, also of a completed order.
    """

    entries: tuple[Entry, ...]
    waits_for: tuple[PendingStep, ...]
    remarks: tuple[str, ...]


def timeline(facts: OrderSnapshot) -> Timeline:
    """The timeline of a snapshot."""
    entries = [
        _accepted(facts),
        *_events(facts),
        *(_attempt(one, facts) for one in facts.attempts),
        *_steps_without_attempts(facts),
        *_ending(facts.order),
        *_dead_letters(facts),
    ]
    pending = waits_for(facts.order.status, progress(facts), facts.now)
    return Timeline(tuple(_with_gaps(entries)), tuple(pending), tuple(_remarks(facts)))


def _with_gaps(entries: Iterable[Entry]) -> Iterator[Entry]:
    before: datetime | None = None
    for entry in sorted(entries, key=lambda one: (one.at, _RANK[one.what])):
        yield entry if before is None else replace(entry, gap_ms=_ms(before, entry.at))
        before = entry.at


def _ms(begin: datetime, end: datetime) -> float:
    return round((end - begin).total_seconds() * 1000, 3)


def _accepted(facts: OrderSnapshot) -> Entry:
    return Entry(min(id_time(facts.order.id), facts.order.placed_at), EntryKind.ACCEPTED)


def _events(facts: OrderSnapshot) -> Iterator[Entry]:
    for event in forgotten(facts):
        yield Entry(committed_at(event, facts), EntryKind.COMMITTED, event=event.type)
    for message in facts.messages:
        of_event: dict[str, Any] = {
            "event": message.type,
            "queue": message.destination,
            "generation": message.generation if message.generation > 1 else None,
        }
        yield Entry(message.recorded_at, EntryKind.COMMITTED, **of_event)
        published_at = sent_at(message, facts)
        if published_at is not None and message.confirmed_at is not None:
            yield Entry(published_at, EntryKind.PUBLISHED, **of_event)
            yield Entry(max(message.confirmed_at, published_at), EntryKind.CONFIRMED, **of_event)


def _attempt(attempt: Attempt, facts: OrderSnapshot) -> Entry:
    return Entry(
        attempt.started_at,
        EntryKind.ATTEMPT,
        event=attempt.event_type,
        step=attempt.step,
        generation=attempt.generation,
        attempt=attempt.attempt,
        outcome=_outcome(attempt, facts),
        ended_at=attempt.ended_at,
        duration_ms=None if attempt.ended_at is None else _ms(attempt.started_at, attempt.ended_at),
        worker=attempt.worker,
        error=attempt.error,
    )


def _outcome(attempt: Attempt, facts: OrderSnapshot) -> AttemptOutcome:
    """Without an end it is running if it is the step's last, the step's row is running, and its lease has not ended."""
    if attempt.end is not None:
        return AttemptOutcome(attempt.end.value)
    step = (attempt.step, attempt.event_type)
    states = {(one.step, kind): one.state for kind, one in facts.steps}
    lease = facts.leases.get(BY_NAME[attempt.step].queue) if attempt.step in BY_NAME else None
    runs = attempt == attempts_at(step, facts)[-1] and states.get(step) is StepState.RUNNING
    return AttemptOutcome.RUNNING if runs and lease is not None and lease > facts.now else AttemptOutcome.LOST


def _steps_without_attempts(facts: OrderSnapshot) -> Iterator[Entry]:
    """Steps that were done before attempts were kept."""
    known = {(one.step, one.event_type) for one in facts.attempts}
    for kind, step in facts.steps:
        if step.finished_at is not None and (step.step, kind) not in known:
            yield Entry(step.finished_at, EntryKind.DONE, event=kind, step=step.step, attempt=step.attempt)


def _ending(order: Order) -> Iterator[Entry]:
    if order.completed_at is not None and order.status is Status.REJECTED:
        yield Entry(order.completed_at, EntryKind.REJECTED, why="; ".join(one.message for one in order.reject_reasons))
    elif order.completed_at is not None:
        yield Entry(order.completed_at, EntryKind.COMPLETED)


def _dead_letters(facts: OrderSnapshot) -> Iterator[Entry]:
    for dead_letter in facts.dead_letters:
        of_dead_letter: dict[str, Any] = {
            "dead_letter": dead_letter.id,
            "queue": dead_letter.queue,
            "event": dead_letter.type,
        }
        yield Entry(
            dead_letter.first_seen_at,
            EntryKind.DEAD_LETTER,
            why=dead_letter.reason,
            error=dead_letter.error,
            **of_dead_letter,
        )
        for action in facts.actions.get(dead_letter.id, ()):
            yield Entry(
                acted_at(action, dead_letter, facts),
                _ACTIONS[action.action],
                actor=action.actor,
                why=action.why,
                generation=action.generation,
                due_at=action.due_at,
                **of_dead_letter,
            )


def _remarks(facts: OrderSnapshot) -> Iterator[str]:
    gone = len(forgotten(facts))
    if gone:
        events = "an event is" if gone == 1 else f"{gone} events are"
        yield f"{events} past retention, read from the audit log: times of publish and confirm are not known any more"
    unknown = sum(one.published and one.sent_at is None and not unpublishable(one, facts) for one in facts.messages)
    if unknown:
        events = "an event was" if unknown == 1 else f"{unknown} events were"
        yield f"{events} published at a time that the cursor's log does not remember any more"
    if any(_lacks_attempts(kind, step, facts) for kind, step in facts.steps):
        yield "attempts at its steps that were made before attempts were kept are not shown"


def _lacks_attempts(kind: str, step: StepProgress, facts: OrderSnapshot) -> bool:
    """Whether a step had attempts before the first that is kept; a replay counts from 1 again."""
    kept = attempts_at((step.step, kind), facts)
    return kept[0].attempt > 1 if kept else step.state is not StepState.PENDING
