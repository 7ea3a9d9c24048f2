"""A read-only client of a broker: its version and the state of queues, over plain AMQP 0-9-1."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import amqp

from ops.errors import ServerError

CONNECT_SECONDS = 5


@dataclass(frozen=True)
class QueueState:
    """The answer to a passive declaration: the numbers of ready messages and of consumers."""

    messages: int
    consumers: int


@contextmanager
def connection(amqp_url: str) -> Iterator[amqp.Connection]:
    """An open connection for the block. Raises ServerError, with host and port, if the broker does not answer."""
    parts = urlsplit(amqp_url)
    port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
    link = amqp.Connection(
        host=f"{parts.hostname}:{port}",
        userid=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        virtual_host=unquote(parts.path[1:]) or "/",
        ssl=parts.scheme == "amqps",
        connect_timeout=CONNECT_SECONDS,
    )
    try:
        link.connect()
    except (OSError, amqp.AMQPError) as error:
        raise ServerError(f"no RabbitMQ at {parts.hostname}:{port}: {error}") from error
    try:
        yield link
    finally:
        link.close()


def queue_states(link: amqp.Connection, queues: Iterable[str]) -> dict[str, QueueState | None]:
    """The state of each queue; None for a queue that does not exist."""
    states: dict[str, QueueState | None] = {}
    for queue in queues:
        channel = link.channel()  # the broker closes a channel that declares a missing queue
        try:
            declared: Any = channel.queue_declare(queue, passive=True)
            states[queue] = QueueState(declared.message_count, declared.consumer_count)
            channel.close()
        except amqp.NotFound:
            states[queue] = None
    return states


def all_consumed(amqp_url: str, queues: Iterable[str]) -> bool:
    """Whether each queue has a consumer; False if the broker does not answer."""
    try:
        with connection(amqp_url) as link:
            return all(state and state.consumers for state in queue_states(link, queues).values())
    except (ServerError, OSError, amqp.AMQPError):
        return False


def version(link: amqp.Connection) -> str:
    """The server's product and version, such as "RabbitMQ 3.10.8"."""
    properties: dict[str, str] = vars(link)["server_properties"]  # missing in the library's type stubs
    return f"{properties.get('product', 'unknown')} {properties.get('version', '?')}"
