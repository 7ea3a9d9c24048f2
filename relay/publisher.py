"""Publisher with pipelined confirms on pika's asyncio adapter. The only module that imports pika.

Called by `relay.pipeline`, which draws the callbacks. A message is settled by its own acknowledgement alone.
`basic.return` of an unroutable message comes before its ack and makes that ack a failure. A lost connection leaves
every pending message unknown: `lost` has the reason, and the caller publishes them again. A channel that the broker
closes because of a message's content is opened again; its pending messages are handed back. `publish` never blocks:
the caller bounds the messages in flight, because pika's write buffers have no bound.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pika.spec import FRAME_MIN_SIZE, Basic, BasicProperties

from outbox.cursor.reader import Row
from outbox.envelope import headers_of
from relay.frames import UnpublishableError, message
from relay.health import metrics
from runtime.logging import get_logger

CONNECT_SECONDS = 10
CLOSE_SECONDS = 2
HEARTBEAT_SECONDS = 10
WRITE_BYTES = 65_536  # pika cuts what the socket did not take off the front of each write: long ones are copied often

# Reply codes with which RabbitMQ closes a channel because of a message: content too large, precondition failed (over
# max_message_size, or a property that the broker checks). Other codes concern the exchange, rights or the broker.
CONTENT_REFUSED = frozenset({311, 406})

log = get_logger(__name__)


class PublisherLostError(Exception):
    """The connection to the broker is lost or was refused. Unconfirmed messages may or may not have arrived."""


class Outcome(Enum):
    """How the broker settled a message."""

    CONFIRMED = "confirmed"
    NACKED = "nacked"
    RETURNED = "returned"
    UNPUBLISHABLE = "unpublishable"


Settle = Callable[[Sequence[Row], Outcome], None]  # messages of one outcome
Refuse = Callable[[Sequence[Row], str], None]  # the messages that were pending, and the broker's reason


class Publisher:
    """One connection with one confirming channel. `lost` completes with the reason when either is gone for good.

    It calls `settle` with messages of one outcome. It calls `refused` with the messages that were pending when the
    broker closed the channel because of one of them; the caller then calls `reopen`.
    """

    def __init__(self, exchange: str, settle: Settle, refused: Refuse) -> None:
        self._exchange = exchange
        self._settle = settle
        self._on_refused = refused
        self._loop = asyncio.get_running_loop()
        self._connection: AsyncioConnection | None = None
        self._channel: Channel | None = None
        self._tag = 0
        self._pending: dict[int, Row] = {}
        self._returned: set[str] = set()
        self._frame_max = FRAME_MIN_SIZE
        self._blocked = False
        self._probe_channel: Channel | None = None
        self._answer: asyncio.Future[bool] = self._loop.create_future()
        self._answer_seconds: float = CONNECT_SECONDS
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self.lost: asyncio.Future[str] = self._loop.create_future()

    async def open(self, amqp_url: str) -> None:
        """Connect and wait until the channel confirms; the URL may carry pika's parameters. Raises PublisherLostError.

        `stack_timeout` is also how long any later answer may take.
        """
        parameters = _parameters(amqp_url)
        self._answer_seconds = parameters.stack_timeout
        opened: asyncio.Future[None] = self._loop.create_future()
        self._connection = AsyncioConnection(
            parameters,
            on_open_callback=lambda _: _resolve(opened),
            on_open_error_callback=lambda _, error: self._on_closed(f"cannot connect to RabbitMQ: {error!r}"),
            on_close_callback=lambda _, error: self._on_closed(f"connection closed: {error}"),
            custom_ioloop=self._loop,
        )
        await self._or_lost(opened)
        self._connection.add_on_connection_blocked_callback(lambda _, frame: self._on_blocked(frame.method.reason))
        self._connection.add_on_connection_unblocked_callback(lambda *_: self._on_unblocked())
        self._frame_max = self._connection.params.frame_max
        await self.reopen()

    async def reopen(self) -> None:
        """Open a confirming channel, with tags from 1. Raises PublisherLostError."""
        self._tag, self._pending, self._returned = 0, {}, set()
        channel = await self._open_channel()
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_return_callback(self._on_return)
        confirming: asyncio.Future[None] = self._loop.create_future()
        with _closed_is_lost():
            channel.confirm_delivery(self._on_confirm, callback=lambda _: _resolve(confirming))
        await self._or_lost(confirming)
        self._channel = channel

    def publish(self, rows: Sequence[Row]) -> list[tuple[Row, str]]:
        """Send events. Each is settled once, handed back as refused, or lost with the connection.

        An event that no frame can carry is not sent but returned, with the reason.
        """
        assert self._channel is not None, "open() comes first"
        unpublishable = []
        frames: list[bytes] = []
        for row in rows:
            try:
                frames.append(self._encode(row))
            except UnpublishableError as error:
                unpublishable.append((row, str(error)))
                continue
            self._tag += 1
            self._pending[self._tag] = row
        # On a channel that has just closed they stay pending until its close callback hands them back.
        if self._channel.is_open:
            self._write(frames)
        return unpublishable

    async def missing(self, queues: Iterable[str]) -> list[str]:
        """Those of the queues that the broker does not have. Raises PublisherLostError.

        A broker that blocks publishing reads nothing from this connection: the call then returns when that is over.
        """
        return [queue for queue in queues if not await self._exists(queue)]

    async def close(self) -> None:
        """Close the connection in order, or cut it off after CLOSE_SECONDS. Nothing is sent afterwards."""
        connection = self._connection
        if connection is None or connection.is_closed:
            return
        if not connection.is_closing:
            connection.close()
        await asyncio.wait([self._closed], timeout=CLOSE_SECONDS)
        # A broker that blocks publishing does not read the close, and pika waits for the answer for ever: its buffered
        # messages would be sent during another session. Only the transport offers a way to abort.
        if not connection.is_closed and connection._transport is not None:
            connection._transport.abort()
            await asyncio.wait([self._closed], timeout=CLOSE_SECONDS)

    async def _exists(self, queue: str) -> bool:
        # One channel for all checks, and another one after each miss: a passive declare of a missing queue closes it.
        if self._probe_channel is None or not self._probe_channel.is_open:
            self._probe_channel = await self._open_channel()
            self._probe_channel.add_on_close_callback(lambda _, reason: _resolve_probe(self._answer, reason))
        self._answer = self._loop.create_future()
        with _closed_is_lost():
            self._probe_channel.queue_declare(
                queue, passive=True, callback=lambda _: _resolve(self._answer, value=True)
            )
        exists: bool = await self._or_lost(self._answer)
        return exists

    async def _open_channel(self) -> Channel:
        assert self._connection is not None, "open() comes first"
        opened: asyncio.Future[Channel] = self._loop.create_future()
        with _closed_is_lost():
            self._connection.channel(on_open_callback=partial(_resolve, opened))
        channel: Channel = await self._or_lost(opened)
        return channel

    def _encode(self, row: Row) -> bytes:
        assert self._channel is not None, "open() comes first"
        address = (self._exchange, row.type) if row.destination is None else ("", row.destination)
        event_id = str(row.event_id)
        headers = self._headers(row, event_id)
        return message(self._channel.channel_number, address, (event_id, row.type), headers, row.data, self._frame_max)

    def _headers(self, row: Row, event_id: str) -> dict[str, str | int]:
        return headers_of(
            event_id, row.type, row.subject, row.source, row.time, row.dataschema, row.traceparent, row.generation
        )

    def _write(self, frames: Sequence[bytes]) -> None:
        """Hand frames to the connection in large writes: one send for each message costs more than the message."""
        assert self._connection is not None, "open() comes first"
        write: list[bytes] = []
        size = 0
        for frame in frames:
            write.append(frame)
            size += len(frame)
            if size >= WRITE_BYTES:
                self._connection._output_marshaled_frames([b"".join(write)])
                write, size = [], 0
        if write:
            self._connection._output_marshaled_frames([b"".join(write)])

    async def _or_lost(self, future: "asyncio.Future[Any]") -> Any:  # noqa: ANN401 - the type of the future's result
        answers = {future, self.lost}
        seconds = self._answer_seconds
        while not (await asyncio.wait(answers, timeout=seconds, return_when=asyncio.FIRST_COMPLETED))[0]:
            if not self._blocked:  # a broker that blocks publishing answers later
                self._gone(f"no answer within {seconds} s")
        if not future.done():
            future.cancel()  # no caller waits for a late answer
            raise PublisherLostError(self.lost.result())
        return future.result()

    def _on_confirm(self, frame: Any) -> None:  # noqa: ANN401 - pika's frames have no common type
        method = frame.method
        rows = [self._pending.pop(tag) for tag in self._settled_tags(method.delivery_tag, multiple=method.multiple)]
        if self._returned:
            returned = [row for row in rows if str(row.event_id) in self._returned]
            self._returned.difference_update(str(row.event_id) for row in returned)
            rows = [row for row in rows if row not in returned]
            if returned:
                self._settle(returned, Outcome.RETURNED)
        if rows:
            self._settle(rows, Outcome.CONFIRMED if isinstance(method, Basic.Ack) else Outcome.NACKED)

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

    def _on_channel_closed(self, _channel: Channel, reason: Exception) -> None:
        pending = list(self._pending.values())
        if isinstance(reason, ChannelClosedByBroker) and reason.reply_code in CONTENT_REFUSED and pending:
            self._pending = {}
            self._on_refused(pending, reason.reply_text)
        else:
            self._gone(f"channel closed: {reason}")

    def _on_blocked(self, reason: str) -> None:
        self._blocked = True
        metrics.BLOCKED.set(1)
        log.warning("broker_blocks_publishing", error=reason)

    def _on_unblocked(self) -> None:
        self._blocked = False
        metrics.BLOCKED.set(0)
        log.info("broker_unblocks_publishing")

    def _on_closed(self, reason: str) -> None:
        _resolve(self._closed)
        self._gone(reason)

    def _gone(self, reason: str) -> None:
        _resolve(self.lost, reason)


def _parameters(amqp_url: str) -> pika.URLParameters:
    """The URL's parameters, with our own defaults for those that it leaves out."""
    parts = urlsplit(amqp_url)
    ours = {"heartbeat": HEARTBEAT_SECONDS, "socket_timeout": CONNECT_SECONDS, "stack_timeout": CONNECT_SECONDS}
    query = urlencode({**ours, **dict(parse_qsl(parts.query))})
    parameters = pika.URLParameters(urlunsplit(parts._replace(query=query)))
    parameters.client_properties = {"connection_name": "waybill-relay", **(parameters.client_properties or {})}
    return parameters


def _resolve(future: "asyncio.Future[Any]", value: object = None) -> None:
    if not future.done():
        future.set_result(value)


def _resolve_probe(answer: "asyncio.Future[bool]", reason: Exception) -> None:
    if isinstance(reason, ChannelClosedByBroker) and reason.reply_code == 404:
        _resolve(answer, value=False)
    elif not answer.done():  # a lost connection proves nothing about the queue
        answer.set_exception(PublisherLostError(f"a queue could not be checked: {reason}"))


@contextmanager
def _closed_is_lost() -> Iterator[None]:
    """Turn pika's error for a connection or channel that has just closed into PublisherLostError."""
    try:
        yield
    except AMQPError as error:
        raise PublisherLostError(f"closed while it was being used: {error!r}") from error
