"""A snapshot of one order at one moment, and the matching of its rows. Pure.

Rows carry no foreign keys: an attempt is matched to a message by event and generation, a dead letter by its event's id.
Where clocks differ, or one transaction writes two rows, a cause is dated no later than its consequence. Loaded by
`orders.tracking.load`, put in order of time by `orders.tracking.timeline`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from orders.model import Attempt, AttemptEnd, AuditedEvent, Order, StepProgress
from orders.tracking.progress import OrderDeadLetter, OrderProgress
from orders.workflow import BY_NAME
from outbox.cursor.message_tracking import Message, ScheduledMessage
from outbox.dead_letter_reason import DeadLetterReason
from outbox.dead_letters.queries import Action, DeadLetter


@dataclass(frozen=True, slots=True)
class OrderSnapshot:
    """The facts about an order at the moment `now`. Each step has the type of the event that it reacts to."""

    order: Order
    now: datetime
    messages: Sequence[Message] = ()
    audited: Sequence[AuditedEvent] = ()
    attempts: Sequence[Attempt] = ()
    steps: Sequence[tuple[str, StepProgress]] = ()
    dead_letters: Sequence[DeadLetter] = ()
    actions: Mapping[int, Sequence[Action]] = field(default_factory=dict)
    waiting: Sequence[ScheduledMessage] = ()
    leases: Mapping[str, datetime] = field(default_factory=dict)


def sent_at(message: Message, facts: OrderSnapshot) -> datetime | None:
    """When a message was published: neither before its recording nor after an attempt at it began. None: unknown.

    A message that the relay dead-lettered was never sent.
    """
    if message.sent_at is None or unpublishable(message, facts):
        return None
    first_attempt_at = min(
        (one.started_at for one in facts.attempts if _was_for(message, one)), default=message.sent_at
    )
    return max(message.recorded_at, min(message.sent_at, first_attempt_at))


def _was_for(message: Message, attempt: Attempt) -> bool:
    """Whether an attempt may have worked on this message. An order has one event of a type.

    A message scheduled for the end of a lease has the generation of the message before it; the attempts at that one are
    older.
    """
    same = (attempt.event_type, attempt.generation) == (message.type, message.generation)
    later = attempt.started_at >= message.recorded_at
    return same and later and attempt.step in BY_NAME and message.destination in {None, BY_NAME[attempt.step].queue}


def unpublishable(message: Message, facts: OrderSnapshot) -> bool:
    """Whether the relay could not publish a message and dead-lettered it."""
    return any(
        dead_letter.reason == DeadLetterReason.UNPUBLISHABLE and _is_of(dead_letter, message)
        for dead_letter in facts.dead_letters
    )


def _is_of(dead_letter: DeadLetter, message: Message) -> bool:
    same = (dead_letter.event_id, dead_letter.generation) == (message.event_id, message.generation)
    return same and message.destination in {None, dead_letter.queue}


def forgotten(facts: OrderSnapshot) -> list[AuditedEvent]:
    """The events that are past retention, which the audit log has for good.

    A retry, a redelivery or a replay has its event's id and may be kept for longer: the event itself is the message of
    the first generation that is addressed to the event exchange.
    """
    known = {one.event_id for one in facts.messages if one.generation == 1 and one.destination is None}
    return [event for event in facts.audited if event.event_id not in known]


def committed_at(event: AuditedEvent, facts: OrderSnapshot) -> datetime:
    """When a forgotten event was recorded: by its own time, but not after its consequences, nor before its step's end.

    A step's event is committed with the attempt that is done. Of several that may have emitted it, the last did.
    """
    emitters = [one for one in facts.attempts if one.end is AttemptEnd.DONE and _emits(one, event.type)]
    not_before = max([facts.order.placed_at, *(one.ended_at for one in emitters if one.ended_at is not None)])
    followed = [
        *(one.started_at for one in facts.attempts if one.event_type == event.type),
        *(one.recorded_at for one in facts.messages if one.event_id == event.event_id),
        *(one.first_seen_at for one in facts.dead_letters if one.event_id == event.event_id),
    ]
    return max(not_before, min([event.occurred_at, *followed]))


def _emits(attempt: Attempt, event_type: str) -> bool:
    return attempt.step in BY_NAME and event_type in BY_NAME[attempt.step].emits


def attempts_at(step: tuple[str, str], facts: OrderSnapshot) -> list[Attempt]:
    """The attempts at a step for its event, in order."""
    of_step = [one for one in facts.attempts if (one.step, one.event_type) == step]
    return sorted(of_step, key=lambda one: (one.generation, one.claim))


def acted_at(action: Action, dead_letter: DeadLetter, facts: OrderSnapshot) -> datetime:
    """When an operator acted on a dead letter. A replay's message is recorded first, in the same transaction."""
    of_replay = replace(dead_letter, generation=action.generation)
    recorded = [one.recorded_at for one in facts.messages if action.generation is not None and _is_of(of_replay, one)]
    return min([action.acted_at, *recorded])


def progress(facts: OrderSnapshot) -> OrderProgress:
    """How far the order is."""
    due: dict[tuple[str, str | None], datetime] = {}
    for one in facts.waiting:
        address = (one.type, one.destination)
        due[address] = min(one.due_at, due.get(address, one.due_at))
    return OrderProgress(
        steps={(BY_NAME[step.step].queue, kind): step for kind, step in facts.steps if step.step in BY_NAME},
        dead_letters=[
            OrderDeadLetter(one.id, one.state, one.queue, one.type, one.reason, one.error, one.generation)
            for one in facts.dead_letters
        ],
        due=due,
        unread={
            (one.type, one.destination) for one in facts.messages if not (one.published or unpublishable(one, facts))
        },
        open_joins=facts.order.open_joins,
        leaf_steps=facts.order.leaf_steps,
        leases=facts.leases,
        generations=_generations(facts),
    )


def _generations(facts: OrderSnapshot) -> dict[tuple[str, str], int]:
    """The next expected generation of each step, or the last one if it was dead-lettered."""
    generations: dict[tuple[str, str], int] = {}
    for one in facts.attempts:
        if one.step in BY_NAME:
            to_come = one.generation + (one.end in {AttemptEnd.RETRIED, AttemptEnd.AWAY})
            step = (BY_NAME[one.step].queue, one.event_type)
            generations[step] = max(to_come, generations.get(step, 0))
    return generations
