"""Both ends of a relay: events recorded in a database, messages taken out of queues, and the cursor between them."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import amqp
import asyncpg

from consumers import topology
from ops.doctor.broker_client import connection, queue_states
from outbox import required_queues
from outbox.envelope import Event
from runtime.settings import Settings
from tests.support.builders.events import new_event
from tests.support.deadlines import ANSWER_SECONDS
from tests.support.probes.database import committed, engine_of

EVENT_EXCHANGE: str = Settings.model_fields["event_exchange"].default
QUEUES = sorted({queue.name for queue, _, _ in topology.bindings(EVENT_EXCHANGE)})


@dataclass
class RelayHarness:
    """A database and a broker. `taken` keeps every message taken so far, by queue and in order of arrival."""

    database_url: str
    amqp_url: str
    taken: dict[str, list[amqp.Message]] = field(default_factory=dict)

    def declare(self) -> None:
        """The product's topology, as `waybill topology apply` makes it; messages in its queues stay."""
        asyncio.run(topology.apply(Settings(database_url=self.database_url, amqp_url=self.amqp_url)))

    def purge(self) -> None:
        """Empty every queue."""
        with connection(self.amqp_url) as link:
            channel = link.channel()
            for queue in QUEUES:
                channel.queue_purge(queue)

    def require(self, queues: Sequence[str]) -> None:
        """Make these queues required."""

        async def write() -> None:
            database = await asyncpg.connect(self.database_url)
            try:
                await required_queues.replace(database, queues)
            finally:
                await database.close()

        asyncio.run(write())

    def record(self, events: Sequence[Event], destination: str | None = None) -> None:
        """Commit events in one transaction."""

        async def write() -> None:
            async with engine_of(self.database_url) as engine:
                await committed(engine, events, destination)

        asyncio.run(write())

    def rows(self, sql: str, *args: object) -> list[Any]:
        """The rows of a query."""

        async def ask() -> list[Any]:
            database = await asyncpg.connect(self.database_url)
            try:
                return list(await database.fetch(sql, *args))
            finally:
                await database.close()

        return asyncio.run(ask())

    def value(self, sql: str, *args: object) -> Any:
        """The one value of a query."""
        return self.rows(sql, *args)[0][0]

    def confirmed(self) -> int:
        """Events that the cursor has passed."""
        return int(self.value("SELECT coalesce(sum(events), 0) FROM outbox.pages"))

    def wait_until(self, sql: str, *args: object) -> None:
        """Return once a query's one value is true."""

        async def watch() -> None:
            database = await asyncpg.connect(self.database_url)
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    while not await database.fetchval(sql, *args):  # noqa: ASYNC110 - the database is what is waited for
                        await asyncio.sleep(0.005)
            finally:
                await database.close()

        asyncio.run(watch())

    def wait_for_cursor(self, events: int) -> None:
        """Return once the cursor has passed at least so many events."""
        self.wait_until("SELECT coalesce(sum(events), 0) >= $1 FROM outbox.pages", events)

    def take(self, queue: str) -> list[amqp.Message]:
        """Every message that the queue held so far, repeats included."""
        kept = self.taken.setdefault(queue, [])
        with connection(self.amqp_url) as link:
            channel = link.channel()
            declared: Any = channel.queue_declare(queue, passive=True)
            if declared.message_count:
                # No more is given than was counted, and all of it is acknowledged: what was on its way to a consumer
                # that goes would come again, behind what came after it.
                expected = len(kept) + declared.message_count
                channel.basic_qos(0, declared.message_count, False)
                tag = channel.basic_consume(queue, callback=kept.append)
                while len(kept) < expected:
                    link.drain_events(timeout=ANSWER_SECONDS)
                channel.basic_cancel(tag)
                channel.basic_ack(0, multiple=True)  # all of them
        return kept

    def take_until(self, queue: str, distinct: int) -> list[amqp.Message]:
        """Take until so many different messages have come."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while len(set(ids(self.take(queue)))) < distinct:
            assert time.monotonic() < deadline, f"{len(set(ids(self.taken[queue])))} of {distinct} came to {queue}"
            time.sleep(0.01)
        return self.taken[queue]

    def depths(self) -> dict[str, int]:
        """Messages in each queue that holds any."""
        names = {queue.name for queue, _, _ in topology.bindings("")}
        with connection(self.amqp_url) as link:
            states = queue_states(link, names)
        return {queue: state.messages for queue, state in states.items() if state and state.messages}

    def delete_queue(self, queue: str) -> None:
        """Delete a queue."""
        with connection(self.amqp_url) as link:
            link.channel().queue_delete(queue)


def ids(messages: Sequence[amqp.Message]) -> list[str]:
    """The event ids of messages, in order, repeats included."""
    return [message.properties["message_id"] for message in messages]


def first_copies(messages: Sequence[amqp.Message]) -> list[str]:
    """The event ids of messages in the order in which each came first."""
    return list(dict.fromkeys(ids(messages)))


def numbered(count: int, subjects: int) -> list[Event]:
    """Events of some subjects, taken in turn."""
    return [new_event(f"order-{number % subjects}", data=b'{"n":%d}' % number) for number in range(count)]


def by_subject(events: Sequence[Event], order: Sequence[str]) -> dict[str, list[str]]:
    """Each subject's event ids in the order of `order`, for comparison with another order of the same events."""
    subject_of = {str(event.id): event.subject for event in events}
    result: dict[str, list[str]] = {}
    for event_id in order:
        result.setdefault(subject_of[event_id], []).append(event_id)
    return result


def assert_all_there_in_order(events: Sequence[Event], messages: Sequence[amqp.Message]) -> None:
    """Each event came at least once, and first copies are in order per subject."""
    expected = [str(event.id) for event in events]
    firsts = first_copies(messages)
    assert sorted(firsts) == sorted(expected)
    assert by_subject(events, firsts) == by_subject(events, expected)
