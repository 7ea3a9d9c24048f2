"""How broker frames settle messages: by their own tag, `multiple` included, a return before its ack is a failure."""

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

from pika.frame import Method
from pika.spec import Basic, BasicProperties

from outbox.reader import Row
from relay.publisher import Outcome, Publisher
from tests.messages import a_row

Settled = list[tuple[int, str]]


def settle(frames: Callable[[Publisher, list[Row]], None]) -> Settled:
    """Publish rows 1 to 5 on a channel that swallows them, play the broker's frames, say what was settled."""
    settled: Settled = []

    async def main() -> None:
        publisher = Publisher("events", lambda row, outcome: settled.append((row.id, outcome.value)))
        publisher._channel = Mock(is_open=True)
        rows = [a_row(number, f"s{number}") for number in range(1, 6)]
        for row in rows:
            publisher.publish(row)
        frames(publisher, rows)

    asyncio.run(main())
    return settled


def ack(tag: int, *, multiple: bool = False) -> Any:
    return Method(1, Basic.Ack(tag, multiple))


def nack(tag: int, *, multiple: bool = False) -> Any:
    return Method(1, Basic.Nack(tag, multiple))


def test_a_message_is_settled_by_its_own_tag_alone() -> None:
    assert settle(lambda publisher, _: publisher._on_confirm(ack(3))) == [(3, "confirmed")]


def test_multiple_settles_every_tag_up_to_it_that_was_not_settled_yet() -> None:
    def frames(publisher: Publisher, _: list[Row]) -> None:
        publisher._on_confirm(ack(2))
        publisher._on_confirm(ack(4, multiple=True))
        publisher._on_confirm(nack(5))

    assert settle(frames) == [(2, "confirmed"), (1, "confirmed"), (3, "confirmed"), (4, "confirmed"), (5, "nacked")]


def test_multiple_applies_to_nacks_too() -> None:
    assert settle(lambda publisher, _: publisher._on_confirm(nack(3, multiple=True))) == [
        (1, "nacked"),
        (2, "nacked"),
        (3, "nacked"),
    ]


def test_a_return_before_the_ack_makes_that_ack_a_failure_and_no_other() -> None:
    def frames(publisher: Publisher, rows: list[Row]) -> None:
        unroutable = BasicProperties(message_id=str(rows[1].event_id))
        publisher._on_return(Mock(), Basic.Return(312, "NO_ROUTE"), unroutable, b"")
        publisher._on_confirm(ack(5, multiple=True))
        publisher.publish(rows[1])
        publisher._on_confirm(ack(6))

    assert settle(frames) == [
        (1, "confirmed"),
        (2, "returned"),
        (3, "confirmed"),
        (4, "confirmed"),
        (5, "confirmed"),
        (2, "confirmed"),
    ]


def test_nothing_is_sent_or_awaited_on_a_channel_that_has_closed() -> None:
    def frames(publisher: Publisher, rows: list[Row]) -> None:
        publisher._channel = Mock(is_open=False)
        publisher.publish(rows[0])
        publisher._channel.basic_publish.assert_not_called()
        assert len(publisher._pending) == 5

    assert settle(frames) == []


def test_outcomes_are_named_as_the_metric_labels_them() -> None:
    assert {outcome.value for outcome in Outcome} == {"confirmed", "nacked", "returned"}
