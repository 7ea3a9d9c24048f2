"""Messages of many subjects at once: deliveries, dead letters and scheduled messages, each in one statement.

Called by `orders.audit`, which joins the answers with its own tables: SQL of other rooms does not name these tables.
`EXCHANGE_EVENTS` is a fragment for a join of more rows than a program should fetch. A subject is an opaque text here.
Every function takes an open connection and none commits. Questions about one subject are in
`outbox.cursor.message_tracking`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# The events for the event exchange from an id on, as the text of a subquery with one bind parameter, `first_id`.
EXCHANGE_EVENTS = """
SELECT event_id, subject, recorded_at FROM outbox.events WHERE id >= :first_id AND destination IS NULL"""

# The bound on the event id leaves out whole partitions.
_DELIVERIES = text("""
SELECT d.subject, d.consumer, d.event_id, d.state, d.journal IS NOT NULL AS acted
FROM outbox.deliveries d JOIN unnest(CAST(:subjects AS text[])) AS wanted (subject) USING (subject)
WHERE d.event_id >= :lowest AND d.consumer = ANY(CAST(:consumers AS text[]))
""")

_DONE = text("""
SELECT DISTINCT subject FROM outbox.deliveries
WHERE consumer = :consumer AND state = 'done' AND event_id >= :lowest
""")

_SUBJECTS = text("""
SELECT event_id, subject FROM outbox.deliveries
WHERE consumer = :consumer AND event_id = ANY(CAST(:ids AS uuid[]))
""")

_DEAD_LETTERS = text("""
SELECT subject, id, state, queue, type, reason, error, generation FROM outbox.dead_letters
WHERE subject = ANY(CAST(:subjects AS text[]))
""")

_DUE = text("""
SELECT subject, type, destination, min(due_at) AS due_at FROM outbox.scheduled
WHERE subject = ANY(CAST(:subjects AS text[])) GROUP BY 1, 2, 3
""")


@dataclass(frozen=True, slots=True)
class SubjectDelivery:
    """An inbox row. `acted`: its step has acted outside, whatever became of the attempt."""

    subject: str
    consumer: str
    event_id: UUID
    state: str
    acted: bool


@dataclass(frozen=True, slots=True)
class SubjectDeadLetter:
    """A dead letter, as far as the progress of its subject depends on it."""

    subject: str
    id: int
    state: str
    queue: str
    type: str | None
    reason: str
    error: str | None
    generation: int | None


@dataclass(frozen=True, slots=True)
class SubjectDue:
    """The next scheduled message of a type to a destination; None: the event exchange."""

    subject: str
    type: str
    destination: str | None
    due_at: datetime


async def deliveries(
    tx: AsyncConnection, consumers: Collection[str], subjects: Collection[str], lowest: UUID
) -> list[SubjectDelivery]:
    """These consumers' inbox rows of these subjects, of event ids from `lowest` on."""
    values = {"consumers": list(consumers), "subjects": list(subjects), "lowest": lowest}
    return [SubjectDelivery(*row) for row in await tx.execute(_DELIVERIES, values)]


async def done_subjects(tx: AsyncConnection, consumer: str, lowest: UUID) -> list[str]:
    """The subjects with an event that this consumer has finished, of event ids from `lowest` on."""
    return list((await tx.execute(_DONE, {"consumer": consumer, "lowest": lowest})).scalars())


async def subjects_of(tx: AsyncConnection, consumer: str, event_ids: Collection[UUID]) -> dict[UUID, str]:
    """The subject of each of these events that this consumer's inbox has a row of."""
    values = {"consumer": consumer, "ids": list(event_ids)}
    return {row.event_id: row.subject for row in await tx.execute(_SUBJECTS, values)}


async def dead_letters(tx: AsyncConnection, subjects: Collection[str]) -> list[SubjectDeadLetter]:
    """Every dead letter of these subjects, in whatever state."""
    return [SubjectDeadLetter(*row) for row in await tx.execute(_DEAD_LETTERS, {"subjects": list(subjects)})]


async def due(tx: AsyncConnection, subjects: Collection[str]) -> list[SubjectDue]:
    """When the next scheduled message of each type of these subjects is due."""
    return [SubjectDue(*row) for row in await tx.execute(_DUE, {"subjects": list(subjects)})]
