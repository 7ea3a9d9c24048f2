"""The outermost layer: it binds a request to its log lines and, with tracing on, to a span.

A client's `traceparent` is honoured, and carried into the outbox also where tracing is off; a malformed one is ignored.
Requests of probes and scrapers make no spans.
"""

from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.log_context import LogContext, bind
from runtime.redaction.redact import excerpt
from runtime.trace_context import valid
from runtime.tracing import tracer
from runtime.tracing.spans import Kind, Span

_HEADER = b"traceparent"
# The methods that OpenTelemetry knows. Any other is `_OTHER`, so that a client cannot make names.
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
LONGEST_PATH = 200  # characters of a requested path
_UNTRACED = frozenset({"/healthz", "/readyz", "/metrics"})


class Request(LogContext):
    """A request as its log lines name it; its step is the name of the route."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope, traceparent: str | None) -> None:
        super().__init__("request", traceparent=traceparent)
        self._scope = scope

    @property
    def step(self) -> str:
        """The route's name, once the router has found it."""
        return getattr(self._scope.get("route"), "name", self._step)


class Traced:
    """ASGI middleware. With tracing off and no context to carry it costs a microsecond or two."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        incoming = _incoming(scope)
        with bind(Request(scope, incoming)) as request:
            if tracer.is_on() and scope["path"] not in _UNTRACED:
                await self._in_span(request, scope, receive, send)
            else:
                with tracer.carried(incoming):
                    await self._app(scope, receive, send)

    async def _in_span(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        path = excerpt(scope["path"], LONGEST_PATH)
        known = {"http.request.method": method, "url.path": path, "url.scheme": scope["scheme"]}
        with tracer.span(_name(method, None), Kind.SERVER, known, parent=request.traceparent) as span:
            request.traceparent = span.traceparent
            status = 0

            async def watch(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await self._app(scope, receive, watch)
            finally:
                _describe(span, request, scope, method, status)


def _incoming(scope: Scope) -> str | None:
    """The request's one valid traceparent."""
    found = [value for name, value in scope["headers"] if name == _HEADER]
    return valid(found[0].decode("latin-1")) if len(found) == 1 else None


def _describe(span: Span, request: Request, scope: Scope, method: str, status: int) -> None:
    """Add the facts that are known only after the answer: route, order, status."""
    route = getattr(scope.get("route"), "path", None)
    if route is not None:
        span.rename(_name(method, route))
        span.note({"http.route": route})
    if request.order_id is not None:
        span.note({"waybill.order_id": request.order_id})
    if status:
        span.note({"http.response.status_code": status})
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        span.note({"error.type": str(status)})
        span.failed(f"answered {status}")
    elif not status:
        span.failed("not answered: the client left first")


def _name(method: str, route: str | None) -> str:
    verb = "HTTP" if method == "_OTHER" else method
    return verb if route is None else f"{verb} {route}"
