"""What pika raises for a connection that closed a moment ago is the same loss, and no word about any queue."""

import asyncio
from unittest.mock import Mock

import pytest
from pika.exceptions import ChannelClosedByBroker, ChannelWrongStateError, ConnectionWrongStateError, StreamLostError

from relay import publisher as publisher_module
from relay.publisher import Publisher, PublisherLostError


async def missing(connection: Mock) -> list[str]:
    """Which queues a publisher on this connection finds missing."""

    publisher = Publisher("events", Mock(), Mock())
    publisher._connection = connection
    return await publisher.missing(["sap"])


def connection_whose_channels(channel: Mock) -> Mock:
    """A connection that opens `channel` at once."""
    return Mock(channel=lambda on_open_callback: on_open_callback(channel))


def channel_closing_with(reason: Exception) -> Mock:
    """A channel that closes for this reason when a queue is declared."""
    channel = Mock(is_open=False)
    channel.queue_declare = lambda *_, **__: channel.add_on_close_callback.call_args.args[0](channel, reason)
    return channel


async def test_a_connection_that_has_just_closed_is_a_lost_broker() -> None:
    with pytest.raises(PublisherLostError, match="closed while it was being used"):
        await missing(Mock(channel=Mock(side_effect=ConnectionWrongStateError("no"))))


async def test_a_channel_that_has_just_closed_is_a_lost_broker() -> None:
    channel = Mock(queue_declare=Mock(side_effect=ChannelWrongStateError("no")))
    with pytest.raises(PublisherLostError, match="closed while it was being used"):
        await missing(connection_whose_channels(channel))


async def test_a_queue_is_missing_only_when_the_broker_says_not_found() -> None:
    assert await missing(connection_whose_channels(channel_closing_with(ChannelClosedByBroker(404, "NOT_FOUND")))) == [
        "sap"
    ]


@pytest.mark.parametrize(
    "reason", [StreamLostError("reset"), ChannelClosedByBroker(405, "RESOURCE_LOCKED")], ids=["stream", "locked"]
)
async def test_a_queue_that_could_not_be_asked_for_is_not_missing(reason: Exception) -> None:
    with pytest.raises(PublisherLostError, match="a queue could not be checked"):
        await missing(connection_whose_channels(channel_closing_with(reason)))


async def missing_at_a_late_broker(monkeypatch: pytest.MonkeyPatch, *, blocked: bool) -> list[str]:
    """Which queues are missing by a broker that answers long after the time limit."""
    monkeypatch.setattr(publisher_module, "CONNECT_SECONDS", 0.001)

    publisher = Publisher("events", Mock(), Mock())
    delay = 0.05 if blocked else 60.0  # a busy machine must not let the answer come within the limit
    late = lambda *_, callback, **__: asyncio.get_running_loop().call_later(delay, callback, None)  # noqa: E731
    publisher._connection = connection_whose_channels(Mock(is_open=True, queue_declare=late))
    if blocked:
        publisher._on_blocked("memory")
    return await publisher.missing(["sap"])


async def test_a_broker_that_does_not_answer_in_time_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PublisherLostError, match=r"no answer within 0\.001 s"):
        await missing_at_a_late_broker(monkeypatch, blocked=False)


async def test_a_broker_that_blocks_publishing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await missing_at_a_late_broker(monkeypatch, blocked=True) == []
