"""How broker frames settle messages: by their own tag, `multiple` included, a return before its ack is a failure."""

from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import Mock

import pytest
from pika.exceptions import ChannelClosedByBroker, StreamLostError
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from outbox.cursor.reader import Row
from relay.health import metrics
from relay.publisher import WRITE_BYTES, Outcome, Publisher
from tests.support.builders.events import a_row

Settled = list[tuple[int, str]]


class Wire:
    """A channel and its connection, which swallow what is written and count it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.channel = Mock(is_open=True, channel_number=1)
        self.connection = Mock()
        self.connection._output_marshaled_frames = self.written.extend


async def settle(play: Callable[[Publisher, list[Row], Wire], None]) -> Settled:
    """Publish rows 1 to 5 on a channel that swallows them, play the broker's frames, say what was settled."""
    settled: Settled = []

    def note(rows: Sequence[Row], outcome: Outcome) -> None:
        settled.extend((row.id, outcome.value) for row in rows)

    wire = Wire()
    publisher = Publisher("events", note, lambda rows, reason: settled.extend((row.id, reason) for row in rows))
    publisher._channel, publisher._connection = wire.channel, wire.connection
    rows = [a_row(number, f"s{number}") for number in range(1, 6)]
    publisher.publish(rows)
    play(publisher, rows, wire)
    return settled


def ack(tag: int, *, multiple: bool = False) -> Any:
    return Method(1, Basic.Ack(tag, multiple))


def nack(tag: int, *, multiple: bool = False) -> Any:
    return Method(1, Basic.Nack(tag, multiple))


async def test_a_message_is_settled_by_its_own_tag_alone() -> None:
    assert await settle(lambda publisher, *_: publisher._on_confirm(ack(3))) == [(3, "confirmed")]


async def test_multiple_settles_every_tag_up_to_it_that_was_not_settled_yet() -> None:
    def frames(publisher: Publisher, *_: object) -> None:
        publisher._on_confirm(ack(2))
        publisher._on_confirm(ack(4, multiple=True))
        publisher._on_confirm(nack(5))

    assert await settle(frames) == [
        (2, "confirmed"),
        (1, "confirmed"),
        (3, "confirmed"),
        (4, "confirmed"),
        (5, "nacked"),
    ]


async def test_multiple_applies_to_nacks_too() -> None:
    assert await settle(lambda publisher, *_: publisher._on_confirm(nack(3, multiple=True))) == [
        (1, "nacked"),
        (2, "nacked"),
        (3, "nacked"),
    ]


async def test_a_return_before_the_ack_makes_that_ack_a_failure_and_no_other() -> None:
    def frames(publisher: Publisher, rows: list[Row], _: Wire) -> None:
        unroutable = BasicProperties(message_id=str(rows[1].event_id))
        publisher._on_return(Mock(), Basic.Return(312, "NO_ROUTE"), unroutable, b"")
        publisher._on_confirm(ack(5, multiple=True))
        publisher.publish([rows[1]])
        publisher._on_confirm(ack(6))

    assert await settle(frames) == [
        (2, "returned"),
        (1, "confirmed"),
        (3, "confirmed"),
        (4, "confirmed"),
        (5, "confirmed"),
        (2, "confirmed"),
    ]


async def test_on_a_channel_that_has_closed_nothing_is_sent_and_what_was_given_shares_its_fate() -> None:
    def frames(publisher: Publisher, rows: list[Row], wire: Wire) -> None:
        written = len(wire.written)
        wire.channel.is_open = False
        publisher.publish([a_row(6, "s6")])
        assert len(wire.written) == written
        publisher._on_channel_closed(Mock(), ChannelClosedByBroker(406, "too large"))

    assert await settle(frames) == [(number, "too large") for number in range(1, 7)]


@pytest.mark.parametrize(
    "reason", [ChannelClosedByBroker(404, "no exchange"), ChannelClosedByBroker(403, "no"), StreamLostError("reset")]
)
async def test_a_channel_that_closes_for_another_reason_than_a_message_is_lost(reason: Exception) -> None:
    def frames(publisher: Publisher, *_: object) -> None:
        publisher._on_channel_closed(Mock(), reason)
        assert str(reason) in publisher.lost.result()

    assert await settle(frames) == []


async def test_a_channel_that_closes_with_nothing_on_its_way_is_lost() -> None:
    def frames(publisher: Publisher, *_: object) -> None:
        publisher._on_confirm(ack(5, multiple=True))
        publisher._on_channel_closed(Mock(), ChannelClosedByBroker(406, "precondition failed"))
        assert publisher.lost.done()

    assert len(await settle(frames)) == 5


async def test_what_no_frame_can_carry_is_given_back_and_its_neighbours_are_sent() -> None:
    def frames(publisher: Publisher, _: list[Row], wire: Wire) -> None:
        wire.written.clear()
        strange = a_row(7, "s7")._replace(type="x" * 300)
        refused = publisher.publish([a_row(6, "s6"), strange, a_row(8, "s8")])
        assert [(row.id, "has 300 bytes" in reason) for row, reason in refused] == [(7, True)]
        assert list(publisher._pending) == [1, 2, 3, 4, 5, 6, 7]
        assert b"".join(wire.written).count(b"application/json") == 2
        publisher._on_confirm(ack(7))

    assert await settle(frames) == [(8, "confirmed")]


async def test_a_burst_goes_out_in_few_writes_of_bounded_size() -> None:
    def frames(publisher: Publisher, _: list[Row], wire: Wire) -> None:
        assert len(wire.written) == 1
        wire.written.clear()
        publisher.publish([a_row(number, f"s{number}")._replace(data=b"x" * 1000) for number in range(6, 206)])
        sizes = [len(write) for write in wire.written]
        assert sum(sizes) > 200_000
        assert max(sizes) < WRITE_BYTES + 2_000
        assert len(sizes) <= sum(sizes) // WRITE_BYTES + 1

    assert await settle(frames) == []


def test_outcomes_are_named_as_the_metric_labels_them() -> None:
    labels = {sample.labels["outcome"] for metric in metrics.SETTLED.collect() for sample in metric.samples}
    assert labels == {outcome.value for outcome in Outcome}
