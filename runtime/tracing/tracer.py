"""Traces as the rooms see them: spans, and the W3C context that a message or a call carries on.

Off, which is the default, nothing of OpenTelemetry is imported and a span is one object that does nothing, for all. A
context that came from outside, a client's or another system's, is carried along all the same: into the outbox, through
the broker, to SAP. On, `runtime.tracing.otlp` makes the spans. A span that is not sent, for whatever reason, is lost:
no order ever waits for one or fails with one.
"""

import os
from collections.abc import Sequence
from contextvars import ContextVar, Token
from typing import Self

from runtime.logging import get_logger
from runtime.settings import Settings
from runtime.tracing.spans import NO_ATTRIBUTES, Attributes, Kind, Span, SpanAround, Tracer

log = get_logger(__name__)


class _Nothing:
    """The span of a process that makes none."""

    traceparent: str | None = None

    def note(self, attributes: Attributes) -> None:
        """Nothing."""

    def rename(self, name: str) -> None:
        """Nothing."""

    def failed(self, reason: Exception | str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing."""


class _Carried(_Nothing):
    """Likewise, around a body that belongs to somebody else's trace, or to none."""

    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent

    def __enter__(self) -> Self:
        self._before: Token[str | None] = _carried.set(self.traceparent)
        return self

    def __exit__(self, *_: object) -> None:
        _carried.reset(self._before)


NO_SPAN = _Nothing()
_carried: ContextVar[str | None] = ContextVar("waybill_traceparent", default=None)
_tracer: Tracer | None = None


def set_up(settings: Settings, process: str) -> None:
    """Begin to trace if the settings say so. In the process that will make the spans: what sends them is a thread.

    OpenTelemetry judges its own variables here, some when it is imported, in a worker only in its children, whose
    deliveries must not pay for one that is refused: the process goes on without spans, and says so.
    """
    if not settings.tracing_otlp_url:
        return
    try:
        from runtime.tracing.otlp import otlp_tracer  # noqa: PLC0415 - a process that does not trace never imports it

        tracer = otlp_tracer(settings, process)
    except Exception as error:  # whatever it is, it is no reason to take no orders
        told = f"{type(error).__name__}: {error}"
        log.exception("tracing_off", error=told, variables=_variables(), do="mend the variable, then restart")
    else:
        start(tracer)


def _variables() -> dict[str, str]:
    """OpenTelemetry's variables as they are set: its errors name none. Not its headers, which hold keys."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith("OTEL_") and not name.endswith("HEADERS")
    }


def start(tracer: Tracer) -> None:
    """Make spans with this tracer from now on."""
    global _tracer  # noqa: PLW0603 - like logging, there is one for a process
    _tracer = tracer


def shut_down() -> None:
    """Send what is left and make no more spans."""
    global _tracer
    tracer, _tracer = _tracer, None
    if tracer is not None:
        tracer.close()


def is_on() -> bool:
    """Whether spans are made."""
    return _tracer is not None


def traceparent() -> str | None:
    """What a message or call from here carries on; None where there is no trace."""
    if _tracer is None:
        return _carried.get()
    span = _tracer.current()
    return None if span is None else span.traceparent


def carried(traceparent: str | None) -> SpanAround:
    """Around a body of a process that makes no spans: it belongs to the trace of this valid traceparent, or to none.

    To none even where there is one around: a server may begin a request from within the one before it.
    """
    return _Carried(traceparent)


def span(
    name: str,
    kind: Kind = Kind.INTERNAL,
    attributes: Attributes = NO_ATTRIBUTES,
    parent: str | None = None,
    links: Sequence[str] = (),
) -> SpanAround:
    """A span around a body. Its parent is the span around; of what came over the wire it is `parent`, or nothing.

    `links`, traceparents too, are other spans that had to do with it.
    """
    if _tracer is not None:
        return _tracer.span(name, kind, attributes, parent, links)
    return NO_SPAN if parent is None else carried(parent)


def begin(name: str, kind: Kind, attributes: Attributes, parent: str | None = None, links: Sequence[str] = ()) -> Span:
    """A span for what does not begin and end in one place; its maker ends it."""
    return NO_SPAN if _tracer is None else _tracer.begin(name, kind, attributes, parent, links)


def failed(error: Exception) -> None:
    """What the span around here is about has failed, although no exception leaves its body."""
    around = None if _tracer is None else _tracer.current()
    if around is not None:
        around.failed(error)
