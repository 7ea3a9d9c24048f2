"""What a process is at: one request or one delivery. Each log line within says which, and shows nothing private of it.

Such a line bears six fields, whoever writes it, libraries too: `order_id`, `event_id`, `task_id`, `step`, `attempt`,
`trace_id`. What is not known yet, or does not exist, is null. They are put together when a line is written: a request
that logs nothing has paid for one small object.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar
from uuid import UUID

from runtime.tracing.trace_context import trace_id_of

FIELDS = ("order_id", "event_id", "task_id", "step", "attempt", "trace_id")


class Work:
    """One request or delivery. `traceparent` is what it is traced under; `private` are texts that no line may show."""

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
        """What is done: the step's name, or that of the API's route."""
        return self._step

    @property
    def trace_id(self) -> str:
        """The trace's id; without one the order's id, which has the same form; without an order one of its own."""
        if self.traceparent is not None:
            return trace_id_of(self.traceparent)
        if self.order_id is not None:
            return self.order_id.replace("-", "")
        if self._own_trace_id is None:
            self._own_trace_id = secrets.token_hex(16)
        return self._own_trace_id

    def fields(self) -> dict[str, object]:
        """What its lines bear."""
        return {
            "order_id": self.order_id,
            "event_id": self.event_id,
            "task_id": self.task_id,
            "step": self.step,
            "attempt": self.attempt,
            "trace_id": self.trace_id,
        }


Some = TypeVar("Some", bound=Work)
_current: ContextVar[Work | None] = ContextVar("waybill_work", default=None)


@contextmanager
def at(work: Some) -> Iterator[Some]:
    """Have each line within the body say that it is about this."""
    before = _current.set(work)
    try:
        yield work
    finally:
        _current.reset(before)


def current() -> Work | None:
    """The request or delivery that is at work here."""
    return _current.get()


def about(order_id: UUID, event_id: UUID | None = None) -> None:
    """A request is known to be about this order, and to have recorded this event."""
    work = _current.get()
    if work is not None:
        work.order_id = str(order_id)
        work.event_id = None if event_id is None else str(event_id)


def tried(attempt: int) -> None:
    """How often a delivery has been tried is known now."""
    work = _current.get()
    if work is not None:
        work.attempt = attempt


def conceal(*texts: str) -> None:
    """Show these texts in no line of this request or delivery: a customer's name, address, street."""
    work = _current.get()
    if work is not None:
        work.private += texts
