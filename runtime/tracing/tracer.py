"""Tracing for every room: spans, and the W3C context that a message or a call carries.

When tracing is off, the default, OpenTelemetry is not imported and every span is one shared object that does nothing. A
context from outside (a client, another system) is carried all the same: into the outbox, through the broker, to SAP.
When tracing is on, `runtime.tracing.otlp` makes the spans. A span that cannot be sent is lost: no order waits for a
span or fails with one.
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
    """The span of a process without tracing."""

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
    """Likewise, around a body that belongs to a trace from outside, or to none."""

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
    """Start tracing if the settings say so. Call it in the process that makes the spans, because a thread sends them.

    OpenTelemetry checks its own variables here, some at import. In a worker that happens in the children, and a refused
    variable must not cost a delivery: the process continues without spans and logs `tracing_off`.
    """
    if not settings.tracing_otlp_url:
        return
    try:
        from runtime.tracing.otlp import otlp_tracer  # noqa: PLC0415 - a process that does not trace never imports it

        tracer = otlp_tracer(settings, process)
    except Exception as error:  # no error of tracing may stop the process
        described = f"{type(error).__name__}: {error}"
        log.exception(
            "tracing_off", error=described, variables=_variables(), remedy="correct the variable, then restart"
        )
    else:
        start(tracer)


def _variables() -> dict[str, str]:
    """OpenTelemetry's variables and their values, because its errors name none. Without headers, which hold keys."""
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
    """Send the remaining spans and make no more."""
    global _tracer
    tracer, _tracer = _tracer, None
    if tracer is not None:
        tracer.close()


def is_on() -> bool:
    """Whether spans are made."""
    return _tracer is not None


def traceparent() -> str | None:
    """The traceparent for messages and calls from here; None if there is no trace."""
    if _tracer is None:
        return _carried.get()
    span = _tracer.current()
    return None if span is None else span.traceparent


def carried(traceparent: str | None) -> SpanAround:
    """Carry this valid traceparent, or none, through a body of a process without tracing.

    None overrides the current one: a server may start a request inside the previous one.
    """
    return _Carried(traceparent)


def span(
    name: str,
    kind: Kind = Kind.INTERNAL,
    attributes: Attributes = NO_ATTRIBUTES,
    parent: str | None = None,
    links: Sequence[str] = (),
) -> SpanAround:
    """A span around a body. Its parent is the current span, or `parent` for work that came over the wire.

    `links` are traceparents of related spans.
    """
    if _tracer is not None:
        return _tracer.span(name, kind, attributes, parent, links)
    return NO_SPAN if parent is None else carried(parent)


def begin(name: str, kind: Kind, attributes: Attributes, parent: str | None = None, links: Sequence[str] = ()) -> Span:
    """A span for an operation that starts and ends in different places; its caller ends it."""
    return NO_SPAN if _tracer is None else _tracer.begin(name, kind, attributes, parent, links)


def failed(error: Exception) -> None:
    """Mark the current span as failed, although no exception leaves its body."""
    around = None if _tracer is None else _tracer.current()
    if around is not None:
        around.failed(error)
