"""Celery's request of a delivery, in the worker's main process: its log lines name the delivery.

They are written when a child was killed or its task ran into Celery's own time limit: only the main process can then
log and count it. For other exceptions only the class is logged: the message may hold customer data, and only the child
knows which part.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery.exceptions import Reject
from celery.worker.request import Request

from consumers.worker.delivery_task import log_context_of
from consumers.worker.metrics import CHILDREN_LOST
from orders.workflow import BY_NAME
from outbox.envelope import decode
from runtime.log_context import bind
from runtime.logging import get_logger

# Killed from outside or for its memory; killed by Celery at its time limit; ended by itself.
_CHILD_DIED = (WorkerLostError, TimeLimitExceeded, SystemExit)

log = get_logger(__name__)


class EventRequest(Request):
    """The request of a task whose arguments are an event (`consumers.worker.cloud_event_task.adapt`)."""

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Called when a time limit has passed."""
        with self._log_context():
            super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:  # noqa: ANN401
        """Called when the task has raised, or its child has died."""
        with self._log_context():
            try:
                self._log(getattr(exc_info.exception, "exc", exc_info.exception))
            finally:  # or the message is neither acknowledged nor rejected, and stays unacknowledged for ever
                answer = super().on_failure(exc_info, send_failed_event, return_ok)
            return answer

    def _log(self, error: BaseException) -> None:
        if isinstance(error, _CHILD_DIED):
            pool = BY_NAME[self.name].pool
            CHILDREN_LOST.labels(pool).inc()
            log.error("child_lost", pool=pool, error=f"{type(error).__name__}: {error}")
        elif not isinstance(error, Reject):  # a dead-lettered delivery: the child has logged why
            log.error("task_broke", error=type(error).__name__)

    @contextmanager
    def _log_context(self) -> Iterator[None]:
        attributes, body, _ = self.args
        with bind(log_context_of(BY_NAME[self.name], decode(attributes, body.encode()))):
            yield
