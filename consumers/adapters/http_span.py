"""The span of an HTTP call that an adapter makes, by OpenTelemetry's conventions for HTTP clients.

It says whom was called and for what: never the query, which may hold anything, nor the headers, which say who we are.
"""

from urllib.parse import urlsplit

from runtime.tracing import tracer
from runtime.tracing.spans import Attributes, Kind, SpanAround

_PORTS = {"http": 80, "https": 443}


def http_call(method: str, url: str, service: str, asked: str) -> SpanAround:
    """A span around one call. `service` is the path below which the span's name begins, `asked` says it in words."""
    if not tracer.is_on():
        return tracer.NO_SPAN
    parts = urlsplit(url)
    known: Attributes = {
        "http.request.method": method,
        "server.address": parts.hostname or "",
        "server.port": parts.port or _PORTS.get(parts.scheme, 0),
        "url.path": parts.path,
        "waybill.asked": asked,
    }
    return tracer.span(f"{method} {parts.path.removeprefix(service)}", Kind.CLIENT, known)


def carried_on() -> dict[str, str]:
    """The headers by which the called system can go on with the trace."""
    traceparent = tracer.traceparent()
    return {} if traceparent is None else {"traceparent": traceparent}
