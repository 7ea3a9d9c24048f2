"""Exchanges, queues and dead-letter queues, derived from orders.workflow; and the list of queues that must exist.

Applying is idempotent. A queue that exists with other arguments is reported with what differs and is left alone:
only a person can decide to drain and delete it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import asyncpg
from amqp.exceptions import PreconditionFailed
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError
from kombu.transport.base import StdChannel

from orders.workflow import (
    DEAD_LETTER_EXCHANGE,
    STEPS,
    UNROUTED_EXCHANGE,
    UNROUTED_QUEUE,
    Step,
    required_queues,
)
from outbox import required_queues as recorded_queues
from runtime.settings import Settings

# RabbitMQ redelivers once more than the limit says. Explicit, because the default differs by version.
DELIVERY_LIMIT = 20
# A dead-letter queue must never drop a message that the collector gives back: a limit that is never reached.
NEVER_REACHED = 1_000_000_000
CONNECT_SECONDS = 10


class TopologyError(Exception):
    """The broker's objects differ from those that the workflow needs; the text says how, and the remedy."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The exchanges and queues in the broker after applying."""

    exchanges: tuple[str, ...]
    queues: tuple[str, ...]


def step_queue(step: Step, exchange: str) -> Queue:
    """The quorum queue of a step. Its dead letters are moved at least once, never dropped, never overflowed.

    A worker does not declare it: made anew without its bindings, the queue would miss every event in silence.
    """
    return Queue(
        step.queue,
        Exchange(exchange, type="topic", durable=True, no_declare=True),
        durable=True,
        no_declare=True,
        queue_arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": DEAD_LETTER_EXCHANGE,
            "x-dead-letter-routing-key": step.dead_letter_queue,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        },
    )


def keeping_queue(name: str, exchange: str) -> Queue:
    """A queue that keeps its messages until the collector stores them: dead letters, unrouted events."""
    return Queue(
        name,
        Exchange(exchange, no_declare=True),
        durable=True,
        queue_arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": NEVER_REACHED,
            "x-overflow": "reject-publish",
        },
    )


def exchanges(event_exchange: str) -> tuple[Exchange, ...]:
    """The exchange of unrouted events first: the event exchange names it as its alternate."""
    return (
        Exchange(UNROUTED_EXCHANGE, type="fanout", durable=True),
        Exchange(DEAD_LETTER_EXCHANGE, type="direct", durable=True),
        Exchange(event_exchange, type="topic", durable=True, arguments={"alternate-exchange": UNROUTED_EXCHANGE}),
    )


def bindings(event_exchange: str) -> Iterator[tuple[Queue, str, str]]:
    """Every queue with the exchange and key that feed it. Dead-letter queues come before the queues they serve."""
    yield keeping_queue(UNROUTED_QUEUE, UNROUTED_EXCHANGE), UNROUTED_EXCHANGE, ""
    for step in STEPS:
        yield keeping_queue(step.dead_letter_queue, DEAD_LETTER_EXCHANGE), DEAD_LETTER_EXCHANGE, step.dead_letter_queue
        for event_type in step.listens_to:
            yield step_queue(step, event_exchange), event_exchange, event_type


def declare(channel: StdChannel, event_exchange: str) -> Applied:
    """Declare and bind everything on an open channel. Raises TopologyError."""
    for exchange in exchanges(event_exchange):
        _declare(exchange.name, exchange(channel).declare)
    queues: dict[str, None] = {}
    for queue, exchange_name, key in bindings(event_exchange):
        if queue.name not in queues:
            _declare(queue.name, queue(channel).queue_declare)
            queues[queue.name] = None
        queue(channel).bind_to(exchange_name, key)
    return Applied(tuple(exchange.name for exchange in exchanges(event_exchange)), tuple(queues))


def bind_again(channel: StdChannel, event_exchange: str, queues: frozenset[str]) -> None:
    """Bind a worker's queues again, called at each of its starts: a lost binding would starve it in silence."""
    for queue, exchange_name, key in bindings(event_exchange):
        if queue.name in queues:
            queue(channel).bind_to(exchange_name, key)


async def apply(settings: Settings) -> Applied:
    """Declare everything and record which queues the relay must find. Raises TopologyError."""
    try:
        with Connection(settings.amqp_url, connect_timeout=CONNECT_SECONDS) as connection:
            applied = declare(connection.default_channel, settings.event_exchange)
    except (OSError, ValueError, OperationalError) as error:
        raise TopologyError(f"cannot talk to the RabbitMQ of AMQP_URL: {error}") from error
    try:
        database = await asyncpg.connect(settings.database_url, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise TopologyError(f"cannot talk to the Postgres of DATABASE_URL: {error}") from error
    try:
        await recorded_queues.replace(database, required_queues())
    finally:
        await database.close()
    return applied


def _declare(name: str, declaration: Callable[[], object]) -> None:
    try:
        declaration()
    except PreconditionFailed as error:
        raise TopologyError(
            f"{name!r} exists with other arguments: {error.reply_text}. "
            "Drain it, delete it and run `waybill topology apply` again."
        ) from error
