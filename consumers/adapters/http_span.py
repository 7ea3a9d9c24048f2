"""Span of an HTTP call by an adapter, by OpenTelemetry's conventions for HTTP clients.

It has the server, the path and the purpose of the call. It never has the query, which may hold private data, or the
headers, which hold our credentials.
"""

from urllib.parse import urlsplit

from runtime.tracing import tracer
from runtime.tracing.spans import Attributes, Kind, SpanAround

_PORTS = {"http": 80, "https": 443}


def http_call(method: str, url: str, service: str, asked: str) -> SpanAround:
    """A span around one call, named by the path without the prefix `service`. `asked` describes the call in words."""
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


def trace_headers() -> dict[str, str]:
    """The headers by which the called system can continue the trace."""
    traceparent = tracer.traceparent()
    return {} if traceparent is None else {"traceparent": traceparent}
