"""A delivery as the worker's main process sees it: what is logged there of its task says which delivery that is.

That is when a child was killed, or its task ran into Celery's own time limit: nobody else can say what it was at.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery.worker.request import Request

from consumers.delivery import work_of
from orders.workflow import BY_NAME
from outbox.envelope import decode
from runtime.work import at


class EventRequest(Request):
    """Celery's request of a task whose arguments are an event (consumers.intake.adapt)."""

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Called when a time limit has passed."""
        with self._at_work():
            super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:  # noqa: ANN401
        """Called when the task has raised, or its child has died."""
        with self._at_work():
            return super().on_failure(exc_info, send_failed_event, return_ok)

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        attributes, body, _ = self.args
        with at(work_of(BY_NAME[self.name], decode(attributes, body.encode()))):
            yield
