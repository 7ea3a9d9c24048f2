"""Spans by OpenTelemetry, sent as OTLP over HTTP. The only home of its libraries; imported where tracing is on.

A thread sends spans in batches from a queue with a bound. Where nobody takes them they are dropped and one warning a
minute says so. The libraries heed the standard variables `OTEL_EXPORTER_OTLP_*` (headers, time-out, certificates),
`OTEL_BSP_*` (the queue) and `OTEL_RESOURCE_ATTRIBUTES` themselves.
"""

import logging
import os
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

from runtime.database import storable
from runtime.logging import get_logger
from runtime.redaction.redact import redacted
from runtime.settings import Settings
from runtime.tracing.spans import ARRIVING, FLUSH_SECONDS, Attributes, Kind
from runtime.tracing.trace_context import flags_of, made, span_id_of, trace_id_of

WARNING_SECONDS = 60.0
_KINDS = {kind: SpanKind[kind.name] for kind in Kind}

log = get_logger(__name__)


def otlp_tracer(settings: Settings, process: str) -> "OpenTelemetry":
    """A tracer that sends to TRACING_OTLP_URL. Its thread does not outlive a fork: make it in the child."""
    # A line for each try of each batch; the exporter below says it once.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    assert settings.tracing_otlp_url, "somebody asked whether it is set"
    exporter = OTLPSpanExporter(settings.tracing_otlp_url.rstrip("/") + "/v1/traces")
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.tracing_sample_ratio)),
        resource=Resource.create({"service.name": f"waybill-{process}", "process.pid": os.getpid()}),
        shutdown_on_exit=False,  # it may wait for half a minute
    )
    provider.add_span_processor(BatchSpanProcessor(TellingExporter(exporter)))
    return OpenTelemetry(provider)


class OpenTelemetrySpan:
    """A span of theirs behind our interface."""

    __slots__ = ("theirs", "traceparent")

    def __init__(self, theirs: trace.Span) -> None:
        self.theirs = theirs
        context = theirs.get_span_context()
        self.traceparent = made(context.trace_id, context.span_id, context.trace_flags)

    def note(self, attributes: Attributes) -> None:
        """See runtime.tracing.spans.Span."""
        self.theirs.set_attributes(attributes)

    def rename(self, name: str) -> None:
        """See runtime.tracing.spans.Span."""
        self.theirs.update_name(name)

    def failed(self, reason: Exception | str) -> None:
        """See runtime.tracing.spans.Span."""
        if not self.theirs.is_recording():
            return  # nobody would read what it costs to write
        text = storable(redacted(str(reason)))
        if isinstance(reason, Exception):
            kind = type(reason).__qualname__
            told = "".join(traceback.format_exception(reason))
            told_as = {
                "exception.type": kind,
                "exception.message": text,
                "exception.stacktrace": storable(redacted(told)),
            }
            self.theirs.add_event("exception", told_as)
            self.theirs.set_attribute("error.type", kind)
        self.theirs.set_status(StatusCode.ERROR, text)

    def end(self) -> None:
        """See runtime.tracing.spans.Span."""
        self.theirs.end()


class OpenTelemetry:
    """A tracer (runtime.tracing.spans.Tracer) of a provider, which `close` closes."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("waybill")
        self._current: ContextVar[OpenTelemetrySpan | None] = ContextVar("waybill_span", default=None)

    def current(self) -> OpenTelemetrySpan | None:
        """See runtime.tracing.spans.Tracer."""
        return self._current.get()

    def begin(
        self, name: str, kind: Kind, attributes: Attributes, parent: str | None, links: Sequence[str]
    ) -> OpenTelemetrySpan:
        """See runtime.tracing.spans.Tracer."""
        linked = [Link(_context(link)) for link in links]
        return OpenTelemetrySpan(
            self._tracer.start_span(name, self._under(parent, kind), _KINDS[kind], attributes, linked)
        )

    @contextmanager
    def span(
        self, name: str, kind: Kind, attributes: Attributes, parent: str | None, links: Sequence[str]
    ) -> Iterator[OpenTelemetrySpan]:
        """See runtime.tracing.spans.Tracer."""
        span = self.begin(name, kind, attributes, parent, links)
        before = self._current.set(span)
        try:
            yield span
        except Exception as error:
            span.failed(error)
            raise
        except BaseException as ended:
            span.failed(f"ended by {type(ended).__name__}")
            raise
        finally:
            self._current.reset(before)
            span.end()

    def close(self) -> None:
        """See runtime.tracing.spans.Tracer."""
        # Theirs waits for as long as the exporter tries, and nothing bounds that but a thread that is left alone.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(FLUSH_SECONDS)
        if closing.is_alive():
            log.warning("spans_lost", spans=None, do="look at what listens at TRACING_OTLP_URL: it took none in time")

    def _under(self, parent: str | None, kind: Kind) -> Context:
        """The parent alone: nothing of theirs is taken from the surroundings."""
        if parent is not None:
            return trace.set_span_in_context(NonRecordingSpan(_context(parent)), Context())
        around = None if kind in ARRIVING else self._current.get()
        return Context() if around is None else trace.set_span_in_context(around.theirs, Context())


class TellingExporter(SpanExporter):
    """An exporter that says now and then that spans are lost, and how many."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lost = 0
        self._told_at = -WARNING_SECONDS

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; called by one thread."""
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self._lost += len(spans)
            if time.monotonic() - self._told_at >= WARNING_SECONDS:
                log.warning("spans_lost", spans=self._lost, do="look at TRACING_OTLP_URL and what listens there")
                self._lost, self._told_at = 0, time.monotonic()
        return result

    def shutdown(self) -> None:
        """Send nothing more, and do not try again what is under way."""
        self._exporter.shutdown()


def _context(traceparent: str) -> SpanContext:
    return SpanContext(
        int(trace_id_of(traceparent), 16),
        int(span_id_of(traceparent), 16),
        is_remote=True,
        trace_flags=TraceFlags(flags_of(traceparent)),
    )
