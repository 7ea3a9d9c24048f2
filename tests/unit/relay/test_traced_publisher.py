"""A span for each event under way, from its hand-over to the broker's word on it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest.mock import Mock

import pytest
from opentelemetry.trace import StatusCode
from pika.exceptions import ChannelClosedByBroker
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from outbox.cursor.reader import Row
from outbox.envelope import TRACESTATE
from relay.pipeline import Pipeline
from relay.publisher import Publisher
from relay.traced_publisher import TracedPublisher
from runtime.settings import Settings
from tests.support.builders.events import a_row
from tests.support.probes.traces import TRACEPARENT, UNSAMPLED, Traces, attribute, span_id, trace_id, traced

PUBLISH = "publish events:order.placed"
Play = Callable[[TracedPublisher, Sequence[Row]], Any]


@pytest.fixture
def traces() -> Iterator[Traces]:
    with traced() as traces:
        yield traces


async def published(play: Play, *rows: Row) -> list[dict[str, str | int]]:
    """Publish rows on a channel that swallows them, play the broker's frames; the headers that were sent."""
    headers: list[dict[str, str | int]] = []

    class Watched(TracedPublisher):
        def _headers(self, row: Row, event_id: str) -> dict[str, str | int]:
            headers.append(super()._headers(row, event_id))
            return headers[-1]

    publisher = Watched("events", Mock(), Mock())
    publisher._channel, publisher._connection = Mock(is_open=True, channel_number=1), Mock(is_closed=True)
    publisher.publish(rows)
    played = play(publisher, rows)
    if played is not None:
        await played
    return headers


def row(number: int = 1, **changes: Any) -> Row:
    return a_row(number, f"s{number}")._replace(traceparent=TRACEPARENT, **changes)


def confirm(publisher: TracedPublisher, rows: Sequence[Row]) -> None:
    publisher._on_confirm(Method(1, Basic.Ack(len(rows), True)))


async def test_the_message_carries_the_span_and_the_span_is_a_child_of_the_rows(traces: Traces) -> None:
    event = row()
    (headers,) = await published(confirm, event)
    span = traces.one(PUBLISH)
    assert headers["cloudEvents:traceparent"] == f"00-{trace_id(span)}-{span_id(span)}-01"
    assert TRACESTATE not in headers
    assert traces.edges() == {("outside", PUBLISH): 1}
    assert trace_id(span) == TRACEPARENT[3:35]
    assert attribute(span, "messaging.message.id") == str(event.event_id)
    assert span.status.status_code is StatusCode.UNSET


async def test_a_later_generation_names_the_span_that_it_was_recorded_in(traces: Traces) -> None:
    (headers,) = await published(confirm, row(generation=2, destination="sap"))
    assert headers[TRACESTATE] == f"waybill={TRACEPARENT[36:52]}"
    assert traces.one("publish sap")


@pytest.mark.parametrize("traceparent", [None, "00-a-b-01"])
async def test_an_event_without_a_context_begins_a_trace(traces: Traces, traceparent: str | None) -> None:
    (headers,) = await published(confirm, row()._replace(traceparent=traceparent, generation=2))
    assert traces.edges() == {("", PUBLISH): 1}
    assert TRACESTATE not in headers


async def test_an_event_whose_trace_is_not_sampled_costs_no_span_and_keeps_its_context(traces: Traces) -> None:
    (headers,) = await published(confirm, row()._replace(traceparent=UNSAMPLED))
    assert headers["cloudEvents:traceparent"] == UNSAMPLED
    assert traces.spans() == []


def nack(publisher: TracedPublisher, rows: Sequence[Row]) -> None:
    publisher._on_confirm(Method(1, Basic.Nack(1, False)))


def give_back(publisher: TracedPublisher, rows: Sequence[Row]) -> None:
    publisher._on_return(Mock(), Basic.Return(312), BasicProperties(message_id=str(rows[0].event_id)), b"")
    publisher._on_confirm(Method(1, Basic.Ack(1, False)))


def close_the_channel(publisher: TracedPublisher, rows: Sequence[Row]) -> None:
    publisher._on_channel_closed(Mock(), ChannelClosedByBroker(406, "too large"))


def lose_the_connection(publisher: TracedPublisher, rows: Sequence[Row]) -> Any:
    return publisher.close()


@pytest.mark.parametrize(
    ("play", "problem"),
    [
        (nack, "nacked"),
        (give_back, "returned"),
        (close_the_channel, "channel closed: too large"),
        (lose_the_connection, "the connection ended before the broker's confirm"),
    ],
)
async def test_the_span_of_a_message_ends_with_the_messages_outcome(traces: Traces, play: Play, problem: str) -> None:
    await published(play, row())
    span = traces.one(PUBLISH)
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, problem)


async def test_a_message_that_no_frame_can_carry_has_a_span_that_says_why(traces: Traces) -> None:
    await published(confirm, row(source="s" * 200_000))
    span = traces.one(PUBLISH)
    assert "a frame of this broker holds" in str(span.status.description)


async def test_a_relay_that_does_not_trace_has_the_plain_publisher() -> None:
    async def kind() -> type[Publisher]:
        settings = Settings(database_url="postgresql://h/d", amqp_url="amqp://h/")
        return type(Pipeline(settings, Mock(), Mock(), 1).publisher)

    assert await kind() is Publisher
    with traced():
        assert await kind() is TracedPublisher
