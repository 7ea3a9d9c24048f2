"""The dead letters that are still open: which subjects have one, which queues, how many there are.

Those of a subject are found by its index, the counts by the partial index of open ones: none slows down with the
history. Called by `api`, `ops.cli.orders_show`, `ops.doctor` and `consumers.collector`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from asyncpg import Connection, Record
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_OPEN_OF_SUBJECT = text("""
SELECT id, queue, reason, error, first_seen_at FROM outbox.dead_letters
WHERE state = 'open' AND subject = :subject ORDER BY id
""")

_SUBJECTS_WITH_OPEN = text("""
SELECT DISTINCT subject FROM outbox.dead_letters WHERE state = 'open' AND subject = ANY(CAST(:subjects AS text[]))
""")

_OPEN_BY_QUEUE = text("""
SELECT queue, reason, count(*) AS dead_letters, max(first_seen_at) AS newest_at
FROM outbox.dead_letters WHERE state = 'open' GROUP BY queue, reason
""")

_COUNT_OPEN = "SELECT count(*) FROM outbox.dead_letters WHERE state = 'open'"


@dataclass(frozen=True, slots=True)
class OpenDeadLetter:
    """An open dead letter of a subject: why an operator must act on it."""

    dead_letter: int
    queue: str
    reason: str
    error: str | None
    since: datetime


@dataclass(frozen=True, slots=True)
class OpenCount:
    """The number of open dead letters of a queue and reason, and when the newest of them was stored."""

    queue: str
    reason: str
    dead_letters: int
    newest_at: datetime


async def open_dead_letters_of(tx: AsyncConnection, subject: str) -> list[OpenDeadLetter]:
    """The open dead letters of one subject, oldest first."""
    return [OpenDeadLetter(*row) for row in await tx.execute(_OPEN_OF_SUBJECT, {"subject": subject})]


async def with_open_dead_letters(tx: AsyncConnection, subjects: Collection[str]) -> set[str]:
    """Those of `subjects` that have an open dead letter."""
    return set((await tx.execute(_SUBJECTS_WITH_OPEN, {"subjects": list(subjects)})).scalars())


async def open_by_queue(tx: AsyncConnection) -> Sequence[OpenCount]:
    """The open dead letters counted by queue and reason."""
    return [OpenCount(*row) for row in await tx.execute(_OPEN_BY_QUEUE)]


async def count_open(connection: "Connection[Record]") -> int:
    """The number of open dead letters, on a connection of asyncpg, which `ops.doctor` has."""
    return int(await connection.fetchval(_COUNT_OPEN))
