"""Publisher of a relay with tracing: a PRODUCER span for each event, from its publishing to the broker's confirm.

The span's parent is the context in the event's row, and the message carries the span's context. An event of a later
generation (a retry or a replay) also carries a `tracestate` with the span in which it was recorded, for its consumer to
link to. An event whose trace is not sampled costs no span; its message carries the row's context.

It is a class of its own so that a relay without tracing pays nothing on its hot path. Chosen by `relay.pipeline`.
"""

from collections.abc import Iterable, Sequence

from outbox.cursor.reader import Row
from outbox.envelope import TRACESTATE
from relay.publisher import Outcome, Publisher, Refuse, Settle
from runtime.trace_context import is_sampled, tracestate_of, valid
from runtime.tracing import tracer
from runtime.tracing.spans import Attributes, Kind, Span


class TracedPublisher(Publisher):
    """A Publisher with a span for each event in flight."""

    def __init__(self, exchange: str, settle: Settle, refused: Refuse) -> None:
        self._spans: dict[int, Span] = {}  # by the row's id: an event is in flight once at a time

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
        """See Publisher. Another session publishes the unconfirmed events again, each in a new span."""
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
