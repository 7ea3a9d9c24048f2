"""Faults of messages: events delivered once more, and garbage in every queue."""

import asyncio
import contextlib
import random
import time
from collections.abc import Collection, Mapping, Sequence

import amqp

from lab.prove.faults.garbage import MARK, garbage
from lab.prove.faults.plan import Planned
from lab.prove.system_under_test import POLL_SECONDS, NotObserved, SystemUnderTest
from ops.doctor import broker_client
from ops.errors import ServerError
from orders.workflow import STEPS
from outbox.envelope import Event, encode_headers
from runtime.settings import Settings

EXCHANGE: str = Settings.model_fields["event_exchange"].default
COPIES = 10
CONSUMED_SECONDS = 10.0
FORMS_AT_ONCE = 2  # per queue: the whole list goes to each queue within a few faults

# Recent events of unfinished orders: some are running at this moment, some were done long ago.
_EVENTS = """
SELECT e.event_id, e.type, e.subject, e.source, e.time, e.data, e.dataschema, e.traceparent, e.generation
FROM outbox.events e JOIN orders o ON o.id::text = e.subject
WHERE e.destination IS NULL AND o.status NOT IN ('completed', 'rejected') ORDER BY e.id DESC LIMIT 300"""

Publishing = tuple[str, str, amqp.Message]  # exchange, routing key, message


async def duplicate_delivery(system: SystemUnderTest, planned: Planned) -> str:
    """Publish events again that the relay has published: to the exchange, or to one of the queues alone.

    Observed when some of the queues that got copies were empty after that: these copies were consumed. (A queue that
    backs up for another reason is consumed later.)
    """
    rng = random.Random(planned.pick)  # noqa: S311  # reproducible, not secret
    events = [Event(*row) for row in await system.patient_query(_EVENTS) if str(row["event_id"]) in system.arrived]
    if not events:
        raise NotObserved("no event of an unfinished order had been published")
    copies, queues = [], set()
    for event in rng.sample(events, min(COPIES, len(events))):
        listening = [step.queue for step in STEPS if event.type in step.listens_to]
        alone = rng.choice(listening) if rng.random() < 0.5 else None
        queues |= {alone} if alone else set(listening)
        copies.append(("", alone, copy(event)) if alone else (EXCHANGE, event.type, copy(event)))
    await _publish(system, copies)
    return f"{len(copies)} events once more, consumed from {', '.join(sorted(await _emptied_queues(system, queues)))}"


async def garbage_in_every_queue(system: SystemUnderTest, planned: Planned) -> str:
    """Put garbage into every step's queue; observed when some of it is dead-lettered. The judge counts all of it."""
    mark = f"{MARK}-{planned.number}."
    pieces: list[Publishing] = []
    for step in STEPS:
        forms = garbage(mark, step.listens_to[0], step.name)
        first = int(planned.pick * len(forms)) + len(pieces)
        pieces += [
            ("", step.queue, _message(piece.body, piece.headers, piece.properties))
            for piece in (forms[(first + turn) % len(forms)] for turn in range(FORMS_AT_ONCE))
        ]
    system.garbage[mark] = len(pieces)
    await _publish(system, pieces)

    async def all_dead() -> bool:
        return await system.dead_letters(mark) >= len(pieces)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CONSUMED_SECONDS):
            await system.until_answered(all_dead)
    died = await system.dead_letters(mark)
    if not died:
        raise NotObserved(f"no message was dead-lettered within {CONSUMED_SECONDS:g} s")
    return f"{len(pieces)} messages in {len(STEPS)} queues, {died} of them dead letters by now"


def copy(event: Event) -> amqp.Message:
    """The message of an event, as the relay publishes it."""
    properties = {"content_type": "application/json", "message_id": str(event.id), "type": event.type}
    return _message(event.data, encode_headers(event), properties)


async def _publish(system: SystemUnderTest, messages: Sequence[Publishing]) -> None:
    """Publish until all are confirmed; begins again while the broker is away, since more copies do no harm here."""

    def publish() -> bool:
        try:
            with broker_client.connection(system.stack.amqp_url) as link:
                channel = link.channel()
                for exchange, key, message in messages:
                    channel.basic_publish_confirm(message, exchange, key)
        except (amqp.AMQPError, amqp.exceptions.MessageNacked, OSError, ServerError):
            return False
        return True

    await system.until_answered(lambda: asyncio.to_thread(publish))


async def _emptied_queues(system: SystemUnderTest, queues: Collection[str]) -> set[str]:
    """Those of the queues that were empty at some time within CONSUMED_SECONDS. Raises NotObserved when none was."""
    left = set(queues)
    until = time.monotonic() + CONSUMED_SECONDS
    while left and time.monotonic() < until:
        await asyncio.sleep(POLL_SECONDS)
        left = {queue for queue, messages in (await ready(system, sorted(left))).items() if messages}
    if left == set(queues):
        raise NotObserved(f"none of {', '.join(sorted(queues))} was empty within {CONSUMED_SECONDS:g} s")
    return set(queues) - left


async def ready(system: SystemUnderTest, queues: Sequence[str]) -> Mapping[str, int]:
    """Ready messages by queue; 1 for each queue that is missing, and for all while the broker does not answer."""

    def read() -> dict[str, int]:
        try:
            with broker_client.connection(system.stack.amqp_url) as link:
                states = broker_client.queue_states(link, queues)
        except (amqp.AMQPError, OSError, ServerError):
            return dict.fromkeys(queues, 1)
        return {queue: state.messages if state else 1 for queue, state in states.items()}

    return await asyncio.to_thread(read)


def _message(body: bytes, headers: Mapping[str, object], properties: Mapping[str, str]) -> amqp.Message:
    return amqp.Message(body, application_headers=dict(headers), delivery_mode=2, **properties)
