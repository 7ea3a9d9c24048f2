"""Dead letters as the collector stores them, and a database in which tests store, replay and read them."""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from outbox.dead_letters.queries import DeadLetter, Selection, find
from outbox.dead_letters.replay import Act, replay
from outbox.dead_letters.replay_plan import Pace, Replayed
from outbox.dead_letters.store import NewDeadLetter, store
from outbox.envelope import Event, encode_headers
from tests.support.builders.events import new_event
from tests.support.probes.database import engine_of

T = TypeVar("T")
EXCHANGE = "orders.events"
ANNA = Act("anna@desk", "SAP is back")


def dead_letter_for(event: Event | None = None, queue: str = "sap", **changes: Any) -> NewDeadLetter:
    """The dead letter of an event that its step dead-lettered; `changes` are fields of NewDeadLetter."""
    event = event or new_event()
    dead_letter = NewDeadLetter(
        queue=queue,
        consumer=queue,
        body=event.data,
        headers=encode_headers(event),
        reason="rejected",
        fingerprint="SapRefused@consumers.adapters.sap:create",
        event_id=event.id,
        type=event.type,
        subject=event.subject,
        generation=event.generation,
        error_class="SapRefused",
        error="400: no such material",
        error_trace="Traceback: …",
    )
    return replace(dead_letter, **changes)


@dataclass(frozen=True)
class DeadLetterDatabase:
    """A database with dead letters; each call is a transaction of its own."""

    engine: AsyncEngine

    async def do(self, work: Callable[[AsyncConnection], Coroutine[Any, Any, T]]) -> T:
        """Run a piece of work and commit."""
        async with self.engine.begin() as tx:
            return await work(tx)

    async def sql(self, statement: str, **values: object) -> Sequence[RowMapping]:
        """Execute one statement and commit; returns its rows."""
        async with self.engine.begin() as tx:
            result = await tx.execute(text(statement), values)
            return result.mappings().all() if result.returns_rows else []

    async def keep(self, *dead_letters: NewDeadLetter) -> list[NewDeadLetter]:
        """Store dead letters; returns those that are new."""
        return await self.do(lambda tx: store(tx, dead_letters))

    async def dead_letters(self, selection: Selection | None = None) -> list[DeadLetter]:
        """The dead letters of a selection, or all of them, in any state."""
        return await self.do(lambda tx: find(tx, selection or Selection(state=None)))

    async def sent(self, table: str = "events") -> Sequence[RowMapping]:
        """The messages that were recorded or scheduled, in order."""
        return await self.sql(f"SELECT * FROM outbox.{table} ORDER BY id")

    async def replay(self, selection: Selection | None = None, pace: Pace | None = None) -> Replayed:
        """Send dead letters again, as Anna."""
        return await self.do(lambda tx: replay(tx, selection or Selection(), ANNA, EXCHANGE, pace))

    async def forget_oldest_month(self) -> None:
        """Take the partition of the events of today and of all before out of the inbox."""
        (first, *_) = await self.sql(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits "
            "WHERE inhparent = 'outbox.deliveries'::regclass ORDER BY 1"
        )
        await self.sql(f"ALTER TABLE outbox.deliveries DETACH PARTITION {first['name']}")

    async def delivery(self, event: Event, state: str, queue: str = "sap", **more: object) -> None:
        """Put a row into the inbox; `more` are columns of it."""
        row: Mapping[str, object] = {
            "consumer": queue,
            "event_id": event.id,
            "subject": event.subject,
            "state": state,
            "generation": event.generation,
            "claims": 0,
            **more,
        }
        columns, values = ", ".join(row), ", ".join(f":{name}" for name in row)
        await self.sql(f"INSERT INTO outbox.deliveries ({columns}) VALUES ({values})", **row)

    async def inbox_row(self, event: Event, queue: str = "sap") -> RowMapping:
        """The inbox's row of an event."""
        (row,) = await self.sql(
            "SELECT * FROM outbox.deliveries WHERE consumer = :queue AND event_id = :id", queue=queue, id=event.id
        )
        return row


@asynccontextmanager
async def dead_letter_database(url: str) -> AsyncIterator[DeadLetterDatabase]:
    """The database at this URL."""
    async with engine_of(url) as engine:
        yield DeadLetterDatabase(engine)
