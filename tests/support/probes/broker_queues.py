"""Queues as a test sees them: put a message in, see how many are ready, take one out."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pika
import pika.data
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from outbox.envelope import Event, encode_headers
from tests.support.deadlines import ANSWER_SECONDS


@dataclass(frozen=True)
class Raw:
    """A header's value as bytes on the wire, the type's character first: for values that pika would not write."""

    encoded: bytes


def write_raw_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Teach pika's encoder to write `Raw`."""
    stock = pika.data.encode_value

    def encode(pieces: list[bytes], value: object) -> int:
        if not isinstance(value, Raw):
            return int(stock(pieces, value))
        pieces.append(value.encoded)
        return len(value.encoded)

    monkeypatch.setattr(pika.data, "encode_value", encode)


@dataclass(frozen=True)
class Queues:
    """One connection; every publish is confirmed."""

    connection: pika.BlockingConnection
    channel: BlockingChannel

    @classmethod
    @contextmanager
    def of(cls, amqp_url: str) -> "Iterator[Queues]":
        connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
        try:
            channel = connection.channel()
            channel.confirm_delivery()
            yield cls(connection, channel)
        finally:
            connection.close()

    def publish(self, queue: str, body: bytes, headers: Mapping[Any, Any] | None, **properties: Any) -> None:
        """Put a message straight into a queue."""
        given = pika.BasicProperties(headers=headers, delivery_mode=2, **properties)
        self.channel.basic_publish("", queue, body, given, mandatory=True)

    def publish_event(self, queue: str, event: Event, **properties: Any) -> None:
        """Put an event into a queue as the relay does."""
        self.publish(queue, event.data, encode_headers(event), **properties)

    def depth(self, queue: str) -> int:
        """Messages ready in a queue."""
        return int(self.channel.queue_declare(queue, passive=True).method.message_count)

    def consumers(self, queue: str) -> int:
        """Workers that take from a queue."""
        return int(self.channel.queue_declare(queue, passive=True).method.consumer_count)

    def wait_for(self, queue: str, messages: int) -> None:
        """Return once a queue holds this many ready messages."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while (depth := self.depth(queue)) != messages:
            assert time.monotonic() < deadline, f"{queue}: {messages} messages wanted, {depth} there"
            self.connection.sleep(0.02)

    def take(self, queue: str) -> tuple[pika.BasicProperties, bytes]:
        """Take the oldest message out."""
        method, properties, body = self.channel.basic_get(queue, auto_ack=True)
        assert method is not None, f"{queue} is empty"
        return properties, body

    def purge(self, *queues: str) -> None:
        """Empty queues."""
        for queue in queues:
            self.channel.queue_purge(queue)
