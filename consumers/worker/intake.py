"""The worker's consumer: takes messages from the broker and hands each to Celery as a task of its queue's step.

`consumers.worker.cloud_event_task` adapts a message. A message that cannot be adapted is rejected, which moves it to
the dead-letter queue; the stock worker would acknowledge what it cannot decode and lose it, and die of a task header
without its id. The circuit pauses and resumes single queues (`consumers.worker.circuit`).

`create_task_handler` and `on_decode_error` are Celery's own hooks but no documented interface, and `_active_tags` is
private to kombu: celery is pinned below 5.8 and tests/process/consumers holds this to the real thing.
"""

from collections.abc import Callable
from typing import Any

from celery.worker.consumer import Consumer
from vine import promise as vine_promise

from consumers.worker.chores import Chores
from consumers.worker.cloud_event_task import Message, adapt
from consumers.worker.queue_binding import BindQueues
from orders.workflow import BY_QUEUE
from runtime.log_context import LogContext, bind
from runtime.logging import get_logger
from runtime.redaction.redact import unquoted

_LEFT_OUT = frozenset(
    {
        "celery.worker.consumer.mingle:Mingle",  # workers exchange nothing with each other
        "celery.worker.consumer.gossip:Gossip",
        "celery.worker.consumer.delayed_delivery:DelayedDelivery",  # retries are scheduled in Postgres
    }
)

log = get_logger(__name__)


class EventConsumer(Consumer):
    """Celery's consumer for messages that are CloudEvents."""

    connection_errors: tuple[type[Exception], ...]
    task_consumer: Any
    _paused: dict[str, str]  # queues by consumer tag

    class Blueprint(Consumer.Blueprint):  # type: ignore[valid-type,misc]
        """The stock blueprint without the parts that brokers and Postgres replace."""

        default_steps = (
            *(step for step in Consumer.Blueprint.default_steps if step not in _LEFT_OUT),
            BindQueues,
            Chores,
        )

    def pause(self, queue: str) -> None:
        """Take nothing more from a queue. Messages that the broker sent before it heard of that are still its own."""
        tag = self.task_consumer._active_tags.get(queue)
        if tag is not None:
            self._paused[tag] = queue
        self.cancel_task_queue(queue)

    def resume(self, queue: str) -> None:
        """Take from a queue again."""
        self.add_task_queue(queue)

    def create_task_handler(self, promise: Callable[..., Any] = vine_promise) -> Callable[[Message], None]:
        """The stock handler behind the adapter. Called by Celery anew at each connection to the broker."""
        handle_task = super().create_task_handler(promise)  # type: ignore[arg-type]
        self._paused = {}

        def on_message(message: Message) -> None:
            queue = None
            try:
                queue = self._queue_of(message)
                adapt(message, queue)
            except Exception as error:  # noqa: BLE001 - no foreign message may end the worker
                self._refuse(message, error, queue)
            else:
                handle_task(message)

        return on_message

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Reject a body that kombu cannot take apart; the stock worker would acknowledge and lose it."""
        self._refuse(message, exc, None)

    def _refuse(self, message: Message, error: Exception, queue: str | None) -> None:
        """Reject a message. Its content is not logged: the dead letter has it."""
        text = f"{type(error).__name__}: {unquoted(str(error))}"
        with bind(LogContext(BY_QUEUE[queue].name if queue else "unknown")):
            log.error("message_refused", error=text, queue=queue)
            message.reject_log_error(log, self.connection_errors)

    def _queue_of(self, message: Message) -> str:
        tag = message.delivery_info["consumer_tag"]
        queues = {known: str(queue) for queue, known in self.task_consumer._active_tags.items()}
        return queues.get(tag) or self._paused[tag]
