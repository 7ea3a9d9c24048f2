"""Spans as a test sees them: kept in memory by a tracer that is otherwise the product's own."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from runtime.tracing import tracer
from runtime.tracing.otlp import OpenTelemetry

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
UNSAMPLED = f"00-{TRACE_ID}-00f067aa0ba902b7-00"


@dataclass(frozen=True)
class Traces:
    """The spans that have ended so far."""

    exporter: InMemorySpanExporter

    def spans(self, name: str | None = None) -> Sequence[ReadableSpan]:
        """Every span, or those of a name, in order of their beginning."""
        ended = sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
        return [span for span in ended if name in {None, span.name}]

    def one(self, name: str) -> ReadableSpan:
        """The one span of a name."""
        (span,) = self.spans(name)
        return span

    def edges(self) -> Counter[tuple[str, str]]:
        """How often a span of one name is the parent of a span of another; a parent elsewhere is `outside`."""
        names = {span_id(span): span.name for span in self.spans()}
        return Counter(
            ("" if span.parent is None else names.get(f"{span.parent.span_id:016x}", "outside"), span.name)
            for span in self.spans()
        )

    def texts(self) -> str:
        """Everything that the spans say, in one text."""
        return "\n".join(span.to_json() for span in self.spans())


def span_id(span: ReadableSpan) -> str:
    """16 hex digits."""
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def trace_id(span: ReadableSpan) -> str:
    """32 hex digits."""
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def linked(span: ReadableSpan) -> list[str]:
    """The ids of the spans that it is linked to."""
    return [f"{link.context.span_id:016x}" for link in span.links]


def attribute(span: ReadableSpan, attribute: str) -> Any:
    """What a span says under a name."""
    assert span.attributes is not None
    return span.attributes.get(attribute)


@contextmanager
def traced(ratio: float = 1.0) -> Iterator[Traces]:
    """Tracing is on in this process, and its spans are kept."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer.start(OpenTelemetry(provider))
    try:
        yield Traces(exporter)
    finally:
        tracer.shut_down()


def recorded(database_url: str) -> list[Any]:
    """The trace contexts that were recorded with events, in order."""

    async def read() -> list[Any]:
        connection = await asyncpg.connect(database_url)
        try:
            return [row[0] for row in await connection.fetch("SELECT traceparent FROM outbox.events ORDER BY id")]
        finally:
            await connection.close()

    return asyncio.run(read())
