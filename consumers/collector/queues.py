"""Client of the dead-letter queues: count, take a batch, acknowledge it or return it.

Used by `consumers.collector.sweep`. Blocking, and for one thread at a time. A message that is taken belongs to the
broker until it is acknowledged: the broker gets it back when the process dies, the connection is lost or the channel is
closed. Every call waits for the broker ANSWER_SECONDS at most. Only BROKER_ERRORS are raised; then `close` returns
everything.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import amqp
from kombu import Connection

from consumers import amqp_messages
from orders.workflow import BY_QUEUE, UNROUTED_QUEUE

CONNECT_SECONDS = 10
ANSWER_SECONDS = 15
HEARTBEAT_SECONDS = 60  # after which the broker takes the collector for dead; a batch takes a small part of it
BATCH_DEAD_LETTERS = 200
BATCH_BYTES = 8 * 1024 * 1024  # of bodies, before another is taken: one may be as large as the broker allows

BROKER_ERRORS = (OSError, amqp.AMQPError)

# For each queue in which a message can die: the queue in which it lies afterwards.
SOURCES: dict[str, str] = {
    **{queue: step.dead_letter_queue for queue, step in BY_QUEUE.items()},
    UNROUTED_QUEUE: UNROUTED_QUEUE,
}


@dataclass(frozen=True, slots=True)
class Taken:
    """A message taken from a dead-letter queue; it died in `queue`. The properties are without the headers."""

    queue: str
    tag: int
    body: bytes
    headers: object
    properties: dict[str, Any]
    raw_properties: bytes


class DeadLetterQueues:
    """One connection to the broker, opened when it is needed."""

    def __init__(self, amqp_url: str) -> None:
        amqp_messages.install(amqp_messages.KeptMessage)
        self._amqp_url = amqp_url
        self._link: Any = None
        self._channel: Any = None

    def waiting(self, queue: str) -> int | None:
        """How many messages are in the dead-letter queue of `queue`; None if that queue does not exist."""
        try:
            return int(self._open_channel().queue_declare(SOURCES[queue], passive=True).message_count)
        except amqp.NotFound:
            return None

    def take(self, queue: str) -> list[Taken]:
        """The oldest messages of the dead-letter queue of `queue`, up to a batch."""
        batch: list[Taken] = []
        size = 0
        while len(batch) < BATCH_DEAD_LETTERS and size < BATCH_BYTES:
            message = self._open_channel().basic_get(SOURCES[queue])
            if message is None:
                break
            batch.append(_taken(queue, message))
            size += len(batch[-1].body)
        return batch

    def acknowledge(self, batch: Sequence[Taken]) -> None:
        """Acknowledge this batch, the last that was taken.

        RabbitMQ's channel passes a quorum queue some 32 acknowledgements at a time, and loses the others if it is
        closed meanwhile: those messages come again, as copies of dead letters that are stored.
        """
        if batch:
            self._channel.basic_ack(batch[-1].tag, multiple=True)

    def close(self) -> None:
        """Close the connection in any state: a connection that broke in mid-frame raises arbitrary errors."""
        link, self._link, self._channel = self._link, None, None
        if link is not None:
            with suppress(Exception):
                link.close()

    def _open_channel(self) -> Any:  # noqa: ANN401 - py-amqp's channel
        """The open channel, or a new one: the broker closes a channel that declares a missing queue passively."""
        if self._link is None:
            self._link = _connected(self._amqp_url)
        if self._channel is None or not self._channel.is_open:
            self._channel = self._link.channel()
            self._channel.auto_decode = False  # bodies are kept byte for byte
        return self._channel


def _connected(amqp_url: str) -> Any:  # noqa: ANN401 - py-amqp's connection
    limits = {"read_timeout": ANSWER_SECONDS, "write_timeout": ANSWER_SECONDS}
    connection = Connection(
        amqp_url, connect_timeout=CONNECT_SECONDS, heartbeat=HEARTBEAT_SECONDS, transport_options=limits
    )
    return connection.transport.establish_connection()


def _taken(queue: str, message: Any) -> Taken:  # noqa: ANN401 - KeptMessage
    properties = dict(message.properties)
    body = message.body.encode(errors="surrogatepass") if isinstance(message.body, str) else bytes(message.body)
    return Taken(
        queue=queue,
        tag=message.delivery_info["delivery_tag"],
        body=body,
        headers=properties.pop("application_headers", {}),
        properties=properties,
        raw_properties=message.raw_properties,
    )
