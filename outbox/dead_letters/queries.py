"""Queries on the dead letters of a selection: single ones with their history, and groups of one cause.

Nothing here changes a dead letter, and only `whole` reads a body. Called by `ops.dead_letters`, `orders.tracking` and
`outbox.dead_letters.replay`; `outbox.dead_letters.still_open` has the queries for others.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, RowMapping, and_, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.tables import dead_letter_actions, dead_letters

_NOW = text("SELECT clock_timestamp()")

_c = dead_letters.c
FACTS = (
    _c.id,
    _c.state,
    _c.queue,
    _c.consumer,
    _c.event_id,
    _c.type,
    _c.subject,
    _c.generation,
    _c.reason,
    _c.error_class,
    _c.error,
    _c.fingerprint,
    _c.replay_count,
    _c.died_at,
    _c.first_seen_at,
    _c.last_seen_at,
)

Position = tuple[datetime, int]  # first_seen_at and id of a dead letter: the order in which batches take them


@dataclass(frozen=True, slots=True)
class Selection:
    """A filter of dead letters: all fields together, an empty one means any. `limit` counts from the oldest."""

    ids: tuple[int, ...] = ()
    queues: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    subject: str | None = None
    fingerprint: str | None = None
    reason: str | None = None
    state: str | None = "open"
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None

    def where(self, after: Position | None = None) -> ColumnElement[bool]:
        """The condition on `dead_letters`; `after` is the position of the last one of the batch before."""
        conditions: list[ColumnElement[bool]] = []
        for column, values in ((_c.id, self.ids), (_c.queue, self.queues), (_c.type, self.types)):
            if values:
                conditions.append(column.in_(values))
        for column, value in (
            (_c.subject, self.subject),
            (_c.fingerprint, self.fingerprint),
            (_c.reason, self.reason),
            (_c.state, self.state),
        ):
            if value is not None:
                conditions.append(column == value)
        if self.since is not None:
            conditions.append(_c.first_seen_at >= self.since)
        if self.until is not None:
            conditions.append(_c.first_seen_at <= self.until)
        if after is not None:
            seen_at, dead_letter_id = after
            conditions.append(
                or_(_c.first_seen_at > seen_at, and_(_c.first_seen_at == seen_at, _c.id > dead_letter_id))
            )
        return and_(True, *conditions)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter without its body. `replay_count` counts the replays of its event in its queue so far."""

    id: int
    state: str
    queue: str
    consumer: str | None
    event_id: UUID | None
    type: str | None
    subject: str | None
    generation: int | None
    reason: str
    error_class: str | None
    error: str | None
    fingerprint: str | None
    replay_count: int
    died_at: datetime | None
    first_seen_at: datetime
    last_seen_at: datetime

    @property
    def position(self) -> Position:
        """Its position in the order in which batches take dead letters."""
        return self.first_seen_at, self.id


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters of one cause. `subjects` counts distinct subjects; `error` is the newest dead letter's."""

    queue: str
    fingerprint: str | None
    reason: str
    error_class: str | None
    error: str | None
    dead_letters: int
    subjects: int
    replay_count: int
    first_seen_at: datetime
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class Action:
    """What an operator did with a dead letter. `generation` and `due_at` are those of a replay's message."""

    action: str
    actor: str
    why: str
    generation: int | None
    due_at: datetime | None
    acted_at: datetime


@dataclass(frozen=True, slots=True)
class WholeDeadLetter:
    """A dead letter with its whole message and its history, oldest first."""

    dead_letter: DeadLetter
    body: bytes
    headers: dict[str, Any]
    properties: dict[str, Any]
    error_trace: str | None
    actions: list[Action] = field(default_factory=list)


async def find(tx: AsyncConnection, selection: Selection, after: Position | None = None) -> list[DeadLetter]:
    """The dead letters of a selection, oldest first."""
    query = select(*FACTS).where(selection.where(after)).order_by(_c.first_seen_at, _c.id).limit(selection.limit)
    return [dead_letter_of(row) for row in (await tx.execute(query)).mappings()]


async def groups(tx: AsyncConnection, selection: Selection) -> list[Group]:
    """The dead letters of a selection by cause, the largest group first; `limit` counts groups."""
    sample = dead_letters.alias("sample")
    grouped = (
        select(
            _c.queue,
            _c.fingerprint,
            _c.reason,
            _c.error_class,
            func.count().label("dead_letters"),
            func.count(_c.subject.distinct()).label("subjects"),
            func.max(_c.replay_count).label("replay_count"),
            func.min(_c.first_seen_at).label("first_seen_at"),
            func.max(_c.last_seen_at).label("last_seen_at"),
            func.max(_c.id).label("newest"),
        )
        .where(selection.where())
        .group_by(_c.queue, _c.fingerprint, _c.reason, _c.error_class)
        .subquery()
    )
    query = (
        select(grouped, sample.c.error)
        .join(sample, sample.c.id == grouped.c.newest)
        .order_by(grouped.c.dead_letters.desc(), grouped.c.newest.desc())
        .limit(selection.limit)
    )
    return [_group(row) for row in await tx.execute(query)]


async def whole(tx: AsyncConnection, dead_letter_id: int) -> WholeDeadLetter | None:
    """One dead letter with its message and history, in any state."""
    message = (_c.body, _c.headers, _c.properties, _c.error_trace)
    row = (await tx.execute(select(*FACTS, *message).where(_c.id == dead_letter_id))).mappings().one_or_none()
    if row is None:
        return None
    actions = await history(tx, dead_letter_id)
    return WholeDeadLetter(
        dead_letter_of(row), bytes(row["body"]), row["headers"], row["properties"], row["error_trace"], actions
    )


async def history(tx: AsyncConnection, dead_letter_id: int) -> list[Action]:
    """The actions on a dead letter, oldest first."""
    return (await histories(tx, [dead_letter_id])).get(dead_letter_id, [])


async def histories(tx: AsyncConnection, dead_letter_ids: Collection[int]) -> dict[int, list[Action]]:
    """The actions on each of these dead letters, oldest first."""
    a = dead_letter_actions.c
    columns = (a.dead_letter_id, a.action, a.actor, a.why, a.generation, a.due_at, a.acted_at)
    by_dead_letter: defaultdict[int, list[Action]] = defaultdict(list)
    for dead_letter_id, *action in await tx.execute(
        select(*columns).where(a.dead_letter_id.in_(dead_letter_ids)).order_by(a.id)
    ):
        by_dead_letter[dead_letter_id].append(Action(*action))
    return by_dead_letter


async def now(tx: AsyncConnection) -> datetime:
    """The database's clock, from which dead letters have their times."""
    moment: datetime = (await tx.execute(_NOW)).scalar_one()
    return moment


def dead_letter_of(row: RowMapping) -> DeadLetter:
    """The dead letter of a row that has the columns FACTS and perhaps others."""
    return DeadLetter(**{column.name: row[column.name] for column in FACTS})


def _group(row: Row[Any]) -> Group:
    return Group(
        row.queue,
        row.fingerprint,
        row.reason,
        row.error_class,
        row.error,
        row.dead_letters,
        row.subjects,
        row.replay_count,
        row.first_seen_at,
        row.last_seen_at,
    )
