"""The API's metrics. Labels are bounded: a route's template, never a path; paths of no route share one label.

The series that objectives and alerts read exist from the start, at zero: a rate over a series that appears with its
first event misses that event.
"""

from prometheus_client import GC_COLLECTOR, CollectorRegistry, Counter, Histogram, ProcessCollector
from starlette.types import Scope

NO_ROUTE = "none"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# How `POST /orders` may end: accepted; the client left; our fault; the database is away or the outbox is full.
_PLACED = ("202", "499", "500", "503")
# The kinds of problem by which `POST /orders` refuses an order.
_REASONS = (
    "body-too-large",
    "encoded-body",
    "invalid-json",
    "not-json",
    "reference-taken",
    "unacceptable-fields",
)
# Around the promise that an order is accepted within 200 ms.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 10, 30)


class Metrics:
    """One registry per application, so that two applications in one process share no series."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(GC_COLLECTOR)
        ProcessCollector(registry=self.registry)
        labels = ("route", "method", "status")
        self._requests = Counter(
            "waybill_http_requests",
            "Requests answered; status 499: the client left first",
            labels,
            registry=self.registry,
        )
        self._seconds = Histogram(
            "waybill_http_request_seconds",
            "From the request's head to the last byte of the answer",
            labels,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.accepted = Counter("waybill_orders_accepted", "Orders stored with their event", registry=self.registry)
        self.refused = Counter(
            "waybill_orders_refused", "Orders not accepted, by kind of problem", ("reason",), registry=self.registry
        )
        for status in _PLACED:
            self._requests.labels("/orders", "POST", status)
            self._seconds.labels("/orders", "POST", status)
        for reason in _REASONS:
            self.refused.labels(reason)

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one request."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        labels = (getattr(scope.get("route"), "path", NO_ROUTE), method, str(status))
        self._requests.labels(*labels).inc()
        self._seconds.labels(*labels).observe(seconds)
