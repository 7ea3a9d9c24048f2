"""Pipelined publisher confirms on pika's asyncio adapter. The only module that imports pika.

A message is settled by its own acknowledgement alone. `basic.return` of an unroutable message comes before its ack
and makes that ack a failure. A lost channel or connection leaves every pending message unknown: `lost` says so, and
whoever published has to publish again. Nothing here blocks or waits: the caller bounds what is in flight, because
pika's write buffers have no bound.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pika.spec import Basic, BasicProperties

from outbox.envelope import encode_headers
from outbox.reader import Row
from runtime.logging import get_logger

CONNECT_SECONDS = 10
HEARTBEAT_SECONDS = 10
PERSISTENT = 2

log = get_logger(__name__)


class PublisherLostError(Exception):
    """The broker is gone or refused; what was not confirmed may or may not have arrived."""


class Outcome(Enum):
    """How the broker settled a message."""

    CONFIRMED = "confirmed"
    NACKED = "nacked"
    RETURNED = "returned"


Settle = Callable[[Row, Outcome], None]


class Publisher:
    """One connection with one confirming channel. `lost` completes with the reason when either is gone."""

    def __init__(self, exchange: str, settle: Settle) -> None:
        self._exchange = exchange
        self._settle = settle
        self._loop = asyncio.get_running_loop()
        self._connection: AsyncioConnection | None = None
        self._channel: Channel | None = None
        self._tag = 0
        self._pending: dict[int, Row] = {}
        self._returned: set[str] = set()
        self.lost: asyncio.Future[str] = self._loop.create_future()

    async def open(self, amqp_url: str) -> None:
        """Connect and wait until the channel confirms. Raises PublisherLostError."""
        parameters = pika.URLParameters(amqp_url)
        parameters.heartbeat = HEARTBEAT_SECONDS
        parameters.stack_timeout = parameters.socket_timeout = CONNECT_SECONDS
        parameters.client_properties = {"connection_name": "waybill-relay"}
        opened: asyncio.Future[None] = self._loop.create_future()
        self._connection = AsyncioConnection(
            parameters,
            on_open_callback=lambda _: _resolve(opened),
            on_open_error_callback=lambda _, error: self._gone(f"cannot connect to RabbitMQ: {error!r}"),
            on_close_callback=lambda _, error: self._gone(f"connection closed: {error}"),
            custom_ioloop=self._loop,
        )
        await self._or_lost(opened)
        self._connection.add_on_connection_blocked_callback(
            lambda _, frame: log.warning("broker_blocks_publishing", reason=frame.method.reason)
        )
        self._connection.add_on_connection_unblocked_callback(lambda *_: log.info("broker_takes_messages_again"))
        self._channel = await self._open_channel()
        confirming: asyncio.Future[None] = self._loop.create_future()
        self._channel.add_on_return_callback(self._on_return)
        with _closed_is_lost():
            self._channel.confirm_delivery(self._on_confirm, callback=lambda _: _resolve(confirming))
        await self._or_lost(confirming)

    def publish(self, row: Row) -> None:
        """Send one event; `settle` is called once with its outcome, or `lost` completes."""
        assert self._channel is not None, "open() comes first"
        if not self._channel.is_open:
            return  # `lost` completes in a moment, and what was not confirmed is published again
        properties = BasicProperties(
            content_type="application/json",
            delivery_mode=PERSISTENT,
            message_id=str(row.event_id),
            type=row.type,
            headers=encode_headers(row.as_event()),
        )
        exchange, key = (self._exchange, row.type) if row.destination is None else ("", row.destination)
        self._channel.basic_publish(exchange, key, row.data, properties, mandatory=True)
        self._tag += 1
        self._pending[self._tag] = row

    async def missing(self, queues: Iterable[str]) -> list[str]:
        """The queues of these that the broker does not have. Raises PublisherLostError."""
        return [queue for queue in queues if not await self._exists(queue)]

    async def close(self) -> None:
        """Close the connection in good order, within CONNECT_SECONDS."""
        if self._connection is not None and not self._connection.is_closed and not self._connection.is_closing:
            self._connection.close()
            await asyncio.wait([self.lost], timeout=CONNECT_SECONDS)

    async def _exists(self, queue: str) -> bool:
        # A declare of what is not there closes its channel: each gets a channel of its own.
        channel = await self._open_channel(owned=False)
        answer: asyncio.Future[bool] = self._loop.create_future()
        channel.add_on_close_callback(lambda _, reason: _resolve_probe(answer, reason))
        with _closed_is_lost():
            channel.queue_declare(queue, passive=True, callback=lambda _: _resolve(answer, value=True))
        exists: bool = await self._or_lost(answer)
        if channel.is_open:
            channel.close()
        return exists

    async def _open_channel(self, *, owned: bool = True) -> Channel:
        assert self._connection is not None, "open() comes first"
        opened: asyncio.Future[Channel] = self._loop.create_future()
        with _closed_is_lost():
            self._connection.channel(on_open_callback=partial(_resolve, opened))
        channel = await self._or_lost(opened)
        if owned:
            channel.add_on_close_callback(lambda _, reason: self._gone(f"channel closed: {reason}"))
        return channel

    async def _or_lost(self, future: "asyncio.Future[Any]") -> Any:  # noqa: ANN401 - whatever the future holds
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.wait([future, self.lost], return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            self._gone(f"no answer within {CONNECT_SECONDS} s")
        if not future.done():
            raise PublisherLostError(self.lost.result())
        return future.result()

    def _on_confirm(self, frame: Any) -> None:  # noqa: ANN401 - pika's frames have no common type
        method = frame.method
        confirmed = isinstance(method, Basic.Ack)
        for tag in self._settled_tags(method.delivery_tag, multiple=method.multiple):
            row = self._pending.pop(tag)
            if str(row.event_id) in self._returned:
                self._returned.discard(str(row.event_id))
                self._settle(row, Outcome.RETURNED)
            else:
                self._settle(row, Outcome.CONFIRMED if confirmed else Outcome.NACKED)

    def _settled_tags(self, tag: int, *, multiple: bool) -> list[int]:
        if not multiple:
            return [tag]
        settled = []
        for pending in self._pending:  # in order of publishing
            if pending > tag:
                break
            settled.append(pending)
        return settled

    def _on_return(self, _channel: Channel, _method: Basic.Return, properties: BasicProperties, _body: bytes) -> None:
        # One subject has one message in flight, and an event has one subject: its id names the message.
        self._returned.add(properties.message_id)

    def _gone(self, reason: str) -> None:
        _resolve(self.lost, reason)


def _resolve(future: "asyncio.Future[Any]", value: object = None) -> None:
    if not future.done():
        future.set_result(value)


def _resolve_probe(answer: "asyncio.Future[bool]", reason: Exception) -> None:
    if isinstance(reason, ChannelClosedByBroker) and reason.reply_code == 404:
        _resolve(answer, value=False)
    elif not answer.done():  # a connection that is lost says nothing about the queue
        answer.set_exception(PublisherLostError(f"a queue could not be looked at: {reason}"))


@contextmanager
def _closed_is_lost() -> Iterator[None]:
    """What pika says when a connection or channel closed a moment ago and the loop has not told us yet."""
    try:
        yield
    except AMQPError as error:
        raise PublisherLostError(f"closed while it was being used: {error!r}") from error
