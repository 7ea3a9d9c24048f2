"""The publisher of a relay that traces: a PRODUCER span for each event, from its hand-over to the broker's word on it.

The span's parent is the context in the event's row, and the message carries the span's context on. What was recorded
after an earlier try, a retry or a replay, also bears a `tracestate` that names the span it was recorded in, for its
consumer to link to. An event whose trace is not sampled costs no span; its message carries the row's context.

That this is a class of its own leaves the hot path of a relay that does not trace as it was.
"""

from collections.abc import Callable, Iterable, Sequence

from outbox.cursor.reader import Row
from outbox.envelope import TRACESTATE
from relay.publisher import Outcome, Publisher
from runtime.tracing import tracer
from runtime.tracing.spans import Attributes, Kind, Span
from runtime.tracing.trace_context import is_sampled, tracestate_of, valid


class TracedPublisher(Publisher):
    """A Publisher with a span for each event under way."""

    def __init__(
        self,
        exchange: str,
        settle: Callable[[Sequence[Row], Outcome], None],
        refused: Callable[[Sequence[Row], str], None],
    ) -> None:
        self._spans: dict[int, Span] = {}  # by the row's id: an event is under way once at a time

        def settled(rows: Sequence[Row], outcome: Outcome) -> None:
            self._end(rows, None if outcome is Outcome.CONFIRMED else outcome.value)
            settle(rows, outcome)

        def interrupted(rows: Sequence[Row], reason: str) -> None:
            self._end(rows, f"channel closed: {reason}")
            refused(rows, reason)

        super().__init__(exchange, settled, interrupted)

    def publish(self, rows: Sequence[Row]) -> list[tuple[Row, str]]:
        """See Publisher."""
        unpublishable = super().publish(rows)
        for row, reason in unpublishable:
            self._end([row], reason)
        return unpublishable

    async def close(self) -> None:
        """See Publisher. What was not confirmed by now is published again by another session, in a span of its own."""
        await super().close()
        for span in self._spans.values():
            span.failed("the connection ended before the broker's confirm")
            span.end()
        self._spans.clear()

    def _headers(self, row: Row, event_id: str) -> dict[str, str | int]:
        parent = valid(row.traceparent)
        if parent is not None and not is_sampled(parent):
            return super()._headers(row, event_id)
        destination = f"{self._exchange}:{row.type}" if row.destination is None else row.destination
        span = tracer.begin(f"publish {destination}", Kind.PRODUCER, _known(row, destination), parent)
        self._spans[row.id] = span
        headers = super()._headers(row._replace(traceparent=span.traceparent), event_id)
        if parent is not None and row.generation > 1:
            headers[TRACESTATE] = tracestate_of(parent)
        return headers

    def _end(self, rows: Iterable[Row], problem: str | None) -> None:
        for row in rows:
            span = self._spans.pop(row.id, None)
            if span is not None:
                if problem is not None:
                    span.failed(problem)
                span.end()


def _known(row: Row, destination: str) -> Attributes:
    return {
        "messaging.system": "rabbitmq",
        "messaging.operation.type": "send",
        "messaging.operation.name": "publish",
        "messaging.destination.name": destination,
        "messaging.rabbitmq.destination.routing_key": row.destination or row.type,
        "messaging.message.id": str(row.event_id),
        "messaging.message.body.size": len(row.data),
        "waybill.subject": row.subject,
    }
