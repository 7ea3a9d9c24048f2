"""Log context of a process: the request or delivery that is running now.

Every log line written inside it, by our code or by a library, has six fields: `order_id`, `event_id`, `task_id`,
`step`, `attempt`, `trace_id`. A field that is unknown or does not exist is null. `runtime.logging` reads the fields
when it writes a line, so a request that logs nothing has paid for one small object. `runtime.redaction` reads the
customer's private texts from here and hides them.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar
from uuid import UUID

from runtime.trace_context import trace_id_of

FIELDS = ("order_id", "event_id", "task_id", "step", "attempt", "trace_id")


class LogContext:
    """One request or delivery. It is traced under `traceparent`; no log line may show one of the `private` texts."""

    __slots__ = ("_own_trace_id", "_step", "attempt", "event_id", "order_id", "private", "task_id", "traceparent")

    def __init__(
        self,
        step: str,
        *,
        order_id: str | None = None,
        event_id: str | None = None,
        task_id: str | None = None,
        attempt: int | None = None,
        traceparent: str | None = None,
    ) -> None:
        self._step = step
        self.order_id = order_id
        self.event_id = event_id
        self.task_id = task_id
        self.attempt = attempt
        self.traceparent = traceparent
        self.private: tuple[str, ...] = ()
        self._own_trace_id: str | None = None

    @property
    def step(self) -> str:
        """The name of the step, or of the API's route."""
        return self._step

    @property
    def trace_id(self) -> str:
        """The trace's id; without a trace the order's id, which has the same form; without an order a random id."""
        if self.traceparent is not None:
            return trace_id_of(self.traceparent)
        if self.order_id is not None:
            return self.order_id.replace("-", "")
        if self._own_trace_id is None:
            self._own_trace_id = secrets.token_hex(16)
        return self._own_trace_id

    def fields(self) -> dict[str, object]:
        """The six fields of its log lines."""
        return {
            "order_id": self.order_id,
            "event_id": self.event_id,
            "task_id": self.task_id,
            "step": self.step,
            "attempt": self.attempt,
            "trace_id": self.trace_id,
        }


Some = TypeVar("Some", bound=LogContext)
_current: ContextVar[LogContext | None] = ContextVar("waybill_log_context", default=None)


@contextmanager
def bind(context: Some) -> Iterator[Some]:
    """Give every log line within the body this context."""
    before = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(before)


def current() -> LogContext | None:
    """The context of the running request or delivery."""
    return _current.get()


def bind_order(order_id: UUID, event_id: UUID | None = None) -> None:
    """Add the order of this request, and the event that it recorded, to its log lines."""
    context = _current.get()
    if context is not None:
        context.order_id = str(order_id)
        context.event_id = None if event_id is None else str(event_id)


def bind_attempt(attempt: int) -> None:
    """Add the delivery's attempt to its log lines."""
    context = _current.get()
    if context is not None:
        context.attempt = attempt


def redact(*texts: str) -> None:
    """Hide these texts in every log line of this request or delivery: a customer's name, address, street."""
    context = _current.get()
    if context is not None:
        context.private += texts
