"""The raw publisher's window: full while there are messages, and over when each tag is confirmed."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pika.spec import Basic

from lab.bench.messages import new_events
from lab.bench.processes.raw_publisher import RawPublisherError, Run, message_of


class FakeConnection:
    """A connection whose channel opens at once and keeps what is published."""

    def __init__(self) -> None:
        self.published: list[str] = []

    def channel(self, on_open_callback: Callable[[Any], None]) -> None:
        on_open_callback(self)

    def add_on_close_callback(self, callback: Callable[..., None]) -> None: ...

    def add_on_return_callback(self, callback: Callable[..., None]) -> None: ...

    def confirm_delivery(self, on_confirm: Callable[[Any], None], callback: Callable[[Any], None]) -> None:
        self.confirm = on_confirm
        callback(None)

    def basic_publish(self, exchange: str, key: str, body: bytes, properties: Any, *, mandatory: bool) -> None:
        assert (exchange, key, mandatory) == ("somewhere", "order.placed", True)
        assert body
        self.published.append(properties.message_id)

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        self.confirm(SimpleNamespace(method=Basic.Ack(tag, multiple)))


def started(count: int, window: int) -> tuple[FakeConnection, Run, list[str]]:
    events = new_events(count)
    connection = FakeConnection()
    run = Run("somewhere", [message_of(event) for event in events], window)
    run.on_open(connection)
    return connection, run, [str(event.id) for event in events]


async def test_the_window_is_filled_and_refilled_by_each_confirm() -> None:
    connection, run, expected = started(count=5, window=3)
    assert connection.published == expected[:3]

    connection.ack(2)
    assert connection.published == expected[:4]

    connection.ack(3, multiple=True)
    assert connection.published == expected
    assert not run.seconds.done()

    connection.ack(5, multiple=True)
    assert run.seconds.result() > 0


async def test_a_tag_confirmed_twice_over_is_counted_once() -> None:
    connection, run, _ = started(count=4, window=2)
    connection.ack(1)
    connection.ack(2, multiple=True)
    assert len(connection.published) == 4
    connection.ack(4)
    assert not run.seconds.done()
    connection.ack(3)
    assert run.seconds.done()


async def test_a_nack_ends_the_run() -> None:
    connection, run, _ = started(count=1, window=1)
    connection.confirm(SimpleNamespace(method=Basic.Nack(1)))

    with pytest.raises(RawPublisherError, match="nacked"):
        run.seconds.result()
