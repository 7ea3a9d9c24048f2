"""Raw pipelined publishing with stock pika: the rate that the broker takes from a Python process that only publishes.

It has every advantage: messages and their properties are made beforehand, the window is filled in bursts, only the
delivery tag of a message is kept, and the garbage collector is off meanwhile. Only this module and `relay.publisher`
import pika.
"""

import asyncio
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from lab.bench.errors import BenchError
from outbox.envelope import Event, encode_headers

PERSISTENT = 2


class RawPublisherError(BenchError):
    """The broker refused a message or went away, so there is no rate to compare with."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message, ready to be sent."""

    key: str
    body: bytes
    properties: BasicProperties


def message_of(event: Event) -> Message:
    """The message that the relay makes of an event."""
    properties = BasicProperties(
        content_type="application/json",
        delivery_mode=PERSISTENT,
        message_id=str(event.id),
        type=event.type,
        headers=encode_headers(event),
    )
    return Message(event.type, event.data, properties)


async def publish_all(amqp_url: str, exchange: str, messages: Sequence[Message], window: int) -> float:
    """Seconds from the first publish to the last confirm. Raises RawPublisherError."""
    run = Run(exchange, messages, window)
    connection = AsyncioConnection(
        pika.URLParameters(amqp_url),
        on_open_callback=run.on_open,
        on_open_error_callback=lambda _, error: run.fail(f"cannot connect to RabbitMQ: {error!r}"),
        on_close_callback=lambda _, error: run.fail(f"connection closed: {error}"),
        custom_ioloop=asyncio.get_running_loop(),
    )
    gc.collect()
    gc.disable()
    try:
        return await run.seconds
    finally:
        gc.enable()
        if connection.is_open:
            connection.close()
            while not connection.is_closed:  # noqa: ASYNC110 - pika offers no event for it once `fail` has one
                await asyncio.sleep(0.01)


class Run:
    """A window over the messages. `seconds` completes when the last is confirmed."""

    def __init__(self, exchange: str, messages: Sequence[Message], window: int) -> None:
        self.seconds: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._exchange = exchange
        self._messages = messages
        self._window = window
        self._unconfirmed: set[int] = set()
        self._lowest = 1  # no tag below it is unconfirmed
        self._sent = 0
        self._started = 0.0

    def on_open(self, connection: AsyncioConnection) -> None:
        """Ask for a channel; the rest follows."""
        connection.channel(on_open_callback=self._on_channel)

    def fail(self, reason: str) -> None:
        """End the run, unless it has ended."""
        if not self.seconds.done():
            self.seconds.set_exception(RawPublisherError(reason))

    def _on_channel(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(lambda _, reason: self.fail(f"channel closed: {reason}"))
        channel.add_on_return_callback(lambda *_: self.fail("a message was returned: the queues are not bound"))
        channel.confirm_delivery(self._on_confirm, callback=self._start)

    def _start(self, _frame: Any) -> None:  # noqa: ANN401 - pika's frames have no common type
        self._started = time.perf_counter()
        self._fill()

    def _fill(self) -> None:
        messages, publish, unconfirmed = self._messages, self._channel.basic_publish, self._unconfirmed
        while len(unconfirmed) < self._window and self._sent < len(messages):
            message = messages[self._sent]
            publish(self._exchange, message.key, message.body, message.properties, mandatory=True)
            self._sent += 1
            unconfirmed.add(self._sent)

    def _on_confirm(self, frame: Any) -> None:  # noqa: ANN401 - pika's frames have no common type
        method = frame.method
        if not isinstance(method, Basic.Ack):
            self.fail("a message was nacked")
            return
        if method.multiple:
            self._unconfirmed.difference_update(range(self._lowest, method.delivery_tag + 1))
            self._lowest = method.delivery_tag + 1
        else:
            self._unconfirmed.discard(method.delivery_tag)
        self._fill()
        if not self._unconfirmed and not self.seconds.done():
            self.seconds.set_result(time.perf_counter() - self._started)
