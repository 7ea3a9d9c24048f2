"""OpenTelemetry implementation of spans, sent as OTLP over HTTP. The only module that imports its libraries.

`runtime.tracing.tracer` imports it when tracing is on. A thread sends spans in batches from a bounded queue. Spans that
the receiver does not take are dropped, with one warning a minute. The libraries themselves read the standard variables
`OTEL_EXPORTER_OTLP_*` (headers, time-out, certificates), `OTEL_BSP_*` (the queue) and `OTEL_RESOURCE_ATTRIBUTES`.
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

from runtime.logging import get_logger
from runtime.redaction.redact import redacted
from runtime.settings import Settings
from runtime.storable import storable
from runtime.trace_context import flags_of, made, span_id_of, trace_id_of
from runtime.tracing.spans import ARRIVING, FLUSH_SECONDS, Attributes, Kind

WARNING_SECONDS = 60.0
_KINDS = {kind: SpanKind[kind.name] for kind in Kind}

log = get_logger(__name__)


def otlp_tracer(settings: Settings, process: str) -> "OpenTelemetry":
    """A tracer that sends to TRACING_OTLP_URL. Its thread does not survive a fork: make it in the child."""
    # It logs a line for every batch and retry; the exporter below logs once a minute.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    assert settings.tracing_otlp_url, "the caller has checked that it is set"
    exporter = OTLPSpanExporter(settings.tracing_otlp_url.rstrip("/") + "/v1/traces")
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.tracing_sample_ratio)),
        resource=Resource.create({"service.name": f"waybill-{process}", "process.pid": os.getpid()}),
        shutdown_on_exit=False,  # it may wait for half a minute
    )
    provider.add_span_processor(BatchSpanProcessor(ReportingExporter(exporter)))
    return OpenTelemetry(provider)


class OpenTelemetrySpan:
    """An OpenTelemetry span behind our interface."""

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
            return  # formatting a trace that is not recorded would be wasted
        text = storable(redacted(str(reason)))
        if isinstance(reason, Exception):
            kind = type(reason).__qualname__
            trace_text = "".join(traceback.format_exception(reason))
            recorded = {
                "exception.type": kind,
                "exception.message": text,
                "exception.stacktrace": storable(redacted(trace_text)),
            }
            self.theirs.add_event("exception", recorded)
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
        # The provider waits as long as the exporter retries. Only a separate thread, left behind, bounds that time.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(FLUSH_SECONDS)
        if closing.is_alive():
            log.warning("spans_lost", spans=None, remedy="check the receiver at TRACING_OTLP_URL: it took none in time")

    def _under(self, parent: str | None, kind: Kind) -> Context:
        """The context with this parent alone: OpenTelemetry's own current context is not used."""
        if parent is not None:
            return trace.set_span_in_context(NonRecordingSpan(_context(parent)), Context())
        around = None if kind in ARRIVING else self._current.get()
        return Context() if around is None else trace.set_span_in_context(around.theirs, Context())


class ReportingExporter(SpanExporter):
    """An exporter that logs, at most once a minute, how many spans were lost."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lost = 0
        self._logged_at = -WARNING_SECONDS

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; called by one thread."""
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self._lost += len(spans)
            if time.monotonic() - self._logged_at >= WARNING_SECONDS:
                log.warning("spans_lost", spans=self._lost, remedy="check TRACING_OTLP_URL and the receiver there")
                self._lost, self._logged_at = 0, time.monotonic()
        return result

    def shutdown(self) -> None:
        """Send nothing more, and retry nothing."""
        self._exporter.shutdown()


def _context(traceparent: str) -> SpanContext:
    return SpanContext(
        int(trace_id_of(traceparent), 16),
        int(span_id_of(traceparent), 16),
        is_remote=True,
        trace_flags=TraceFlags(flags_of(traceparent)),
    )
