"""A publisher that closes leaves nothing behind, whether or not the broker still answers."""

import asyncio
from unittest.mock import Mock

import psutil
import pytest

from lab.tcp_proxy.proxy import proxied
from relay import publisher as module
from relay.publisher import Publisher, PublisherLostError
from tests.support.builders.events import a_row
from tests.support.probes.relay_harness import EVENT_EXCHANGE, RelayHarness
from tests.support.probes.waking_clock import waking_clock

LARGE = b"x" * 100_000  # 200 of them are more than the sockets and the proxy between here and there take
LONG_SECONDS = 60.0  # as CLOSE_SECONDS: no test waits it out, and a busy broker answers within it


def connections_to(port: int) -> list[int]:
    """This process's open sockets whose other end is that port."""
    return [link.fd for link in psutil.Process().net_connections("tcp") if link.raddr and link.raddr.port == port]


async def timed_close(publisher: Publisher) -> float:
    """How long closing took."""
    with waking_clock() as clock:
        await publisher.close()
    return clock.seconds


async def test_a_broker_that_no_longer_reads_is_cut_off_with_all_that_was_to_be_sent(
    harness: RelayHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.3)

    with proxied(harness.amqp_url) as (through, proxy):
        publisher = Publisher(EVENT_EXCHANGE, Mock(), Mock())
        await publisher.open(through)
        proxy.fall_silent()
        assert publisher.publish([a_row(number, f"s{number}")._replace(data=LARGE) for number in range(200)]) == []
        await asyncio.sleep(0)
        connection = publisher._connection
        assert connection is not None
        assert connection._transport is not None
        assert connection._transport.get_write_buffer_size() > len(LARGE)
        assert connections_to(proxy.port)
        assert await timed_close(publisher) < 2
        assert connection.is_closed
        assert connection._transport is None
        assert not connections_to(proxy.port)


async def test_a_broker_that_never_answered_is_cut_off_at_once(
    harness: RelayHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_SECONDS", LONG_SECONDS)

    with proxied(harness.amqp_url) as (through, proxy):
        proxy.fall_silent()
        publisher = Publisher(EVENT_EXCHANGE, Mock(), Mock())
        with pytest.raises(PublisherLostError):
            await publisher.open(f"{through}?stack_timeout=0.3")
        assert await timed_close(publisher) < LONG_SECONDS / 2
        assert not connections_to(proxy.port)


async def test_a_broker_that_answers_is_left_in_good_order(
    harness: RelayHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_SECONDS", LONG_SECONDS)

    with proxied(harness.amqp_url) as (through, proxy):
        publisher = Publisher(EVENT_EXCHANGE, Mock(), Mock())
        await publisher.open(through)
        connection = publisher._connection
        assert connection is not None
        reported = Mock()
        connection.add_on_close_callback(lambda _, reason: reported(str(reason)))
        assert await timed_close(publisher) < LONG_SECONDS / 2
        assert "Normal shutdown" in reported.call_args.args[0]
        assert connection.is_closed
        assert not connections_to(proxy.port)
