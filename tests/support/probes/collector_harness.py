"""Real dead-letter queues and the table of dead letters: messages die as in production, the collector stores them."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from consumers.collector.sweep import Collector
from outbox.dead_letters.queries import DeadLetter, WholeDeadLetter, whole
from outbox.envelope import Event, encode_headers, new_event_id
from runtime.settings import Settings
from tests.support.builders.dead_letters import DeadLetterDatabase, dead_letter_database
from tests.support.probes.broker_queues import Queues

T = TypeVar("T")
ORDER = "0190163d-8694-739b-aea5-966c26f8ad91"


def reserved(**changes: Any) -> Event:
    """A sound event for the SAP step."""
    fields = {"order_id": ORDER, "number": "WB-1", "reference": "r", "units": 3}
    event = Event(
        id=new_event_id(),
        type="inventory.reserved",
        subject=ORDER,
        source="urn:waybill:orders",
        time=datetime.now(UTC),
        data=json.dumps(fields).encode(),
        dataschema="urn:waybill:inventory.reserved:1",
    )
    return replace(event, **changes)


@dataclass(frozen=True)
class CollectorHarness:
    """A broker with the product's queues, all empty, and a database without dead letters."""

    settings: Settings
    queues: Queues
    consumer: Any  # a channel of py-amqp: pika's connection ends at headers that it cannot read

    def die(self, queue: str, body: bytes, headers: Mapping[Any, Any] | None = None, **properties: Any) -> None:
        """Have a message rejected by the consumer of a queue, for good."""
        self.queues.publish(queue, body, headers, **properties)
        self.reject(queue)

    def die_event(self, queue: str, event: Event) -> None:
        """Have an event rejected by the consumer of a queue."""
        self.die(queue, event.data, encode_headers(event))

    def reject(self, queue: str, *, requeue: bool = False) -> None:
        """Reject the oldest message of a queue, once it is there."""
        self.queues.wait_for(queue, 1)
        message = self.consumer.basic_get(queue)
        assert message is not None
        self.consumer.basic_reject(message.delivery_info["delivery_tag"], requeue=requeue)

    def in_database(self, work: Callable[[DeadLetterDatabase], Coroutine[Any, Any, T]]) -> T:
        """Do something with the database."""

        async def run() -> T:
            async with dead_letter_database(self.settings.database_url) as database:
                return await work(database)

        return asyncio.run(run())

    def collect(self, dead_letters: int) -> list[WholeDeadLetter]:
        """Collect until there are so many dead letters; returns all of them."""

        async def work(database: DeadLetterDatabase) -> list[WholeDeadLetter]:
            collector = Collector(self.settings, database.engine, asyncio.Event())
            try:
                async with asyncio.timeout(60):
                    while len(found := await database.dead_letters()) < dead_letters:
                        await collector.run_once()
            finally:
                await collector.close()
            return [await self._whole(database, dead_letter) for dead_letter in found]

        return self.in_database(work)

    def dead_letters(self) -> list[DeadLetter]:
        """The dead letters that there are."""
        return self.in_database(lambda database: database.dead_letters())

    @staticmethod
    async def _whole(database: DeadLetterDatabase, dead_letter: DeadLetter) -> WholeDeadLetter:
        found = await database.do(lambda tx: whole(tx, dead_letter.id))
        assert found is not None
        return found
