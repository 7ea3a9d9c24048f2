"""The worker's consumer: a CloudEvent becomes the task of the queue that it came from.

Every delivery is adapted, also one that calls itself a task: its headers are rebuilt from nothing and its attributes
come only from the `cloudEvents:` headers. What cannot be adapted is rejected, which moves it to the dead-letter queue;
the stock worker would acknowledge what it cannot decode and lose it, and die of a task header without its id.

`create_task_handler` and `on_decode_error` are Celery's own hooks but no documented interface, `_active_tags` is
private to kombu and `_load_properties` to py-amqp: celery is pinned below 5.8 and tests/integration/consumers holds
this to the real thing.
"""

import contextlib
import json
import uuid
from collections.abc import Callable
from typing import Any

import amqp.basic_message
import amqp.method_framing
from celery import bootsteps
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.state import active_requests
from vine import promise as vine_promise

from consumers.delivery.message_check import attributes_of, in_our_form, read
from consumers.topology import bind_again
from consumers.worker.child_reports import Word
from consumers.worker.counters import LOOK_SECONDS
from consumers.worker.timer_cleanup import TIDY_SECONDS, drop_cancelled
from orders.workflow import BY_QUEUE
from outbox.envelope import Event
from runtime.log_context import LogContext, bind
from runtime.logging import get_logger
from runtime.redaction.redact import unquoted

TASK_IDS = uuid.UUID("7f1d4ad2-4a40-4b5e-9d0e-0a4b8a6f2c55")  # namespace of our task ids; any constant would do
_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_LEFT_OUT = frozenset(
    {
        "celery.worker.consumer.mingle:Mingle",  # workers have nothing to tell each other
        "celery.worker.consumer.gossip:Gossip",
        "celery.worker.consumer.delayed_delivery:DelayedDelivery",  # retries are scheduled in Postgres
    }
)

Message = Any  # kombu.message.Message, whose types leave out what a worker needs of it

log = get_logger(__name__)


class ReadableMessage(amqp.basic_message.Message):
    """A message that comes without properties when its own cannot be read, and is then refused as any stranger's.

    The stock one raises out of the connection for a time header beyond the year 9999: the worker reconnects and gets it
    again, up to the delivery limit, and all that it had prefetched pays with its delivery counts.
    """

    def _load_properties(self, class_id: int, buf: bytes, offset: int) -> int:
        try:
            return int(super()._load_properties(class_id, buf, offset))  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001 - whatever the bytes are, the worker lives on
            log.warning("headers_unreadable", error=f"{type(error).__name__}: {unquoted(str(error))}")
            self.properties: dict[str, object] = {}
            return len(buf)


amqp.method_framing.Message = ReadableMessage  # type: ignore[misc]


class BindQueues(bootsteps.StartStopStep):
    """Binds the worker's queues at each connect to the broker: a binding that got lost would starve it in silence.

    A queue that is gone ends the connect with the broker's 404, and the worker tries again until it is back.
    """

    requires = ("celery.worker.consumer.connection:Connection",)

    def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's consumer
        """Called by Celery when the connection stands."""
        queues = parent.app.conf.task_queues
        with parent.connection.channel() as channel:
            bind_again(channel, queues[0].exchange.name, frozenset(queue.name for queue in queues))


class Chores(bootsteps.StartStopStep):
    """What the main process does now and then on its own loop: it looks, timers of ended tasks are dropped."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's consumer
        super().__init__(parent, **options)
        self._timers: list[Any] = []

    def start(self, parent: Any) -> None:  # noqa: ANN401
        """Called by Celery at each connect, when the queues are consumed from."""
        timer = parent.timer
        self._timers = [
            timer.call_repeatedly(LOOK_SECONDS, look, (parent,)),
            timer.call_repeatedly(TIDY_SECONDS, drop_cancelled, (timer,)),
        ]

    def stop(self, parent: Any) -> None:  # noqa: ANN401
        """Called by Celery when the connection is lost, and first of all at the end."""
        for timer in self._timers:
            timer.cancel()
        self._timers = []
        if state.should_stop is not None or state.should_terminate is not None:
            log.info("worker_stopping", at_work=len(active_requests))
            # The pool fires the timers while it waits for its children: what they end then is counted as it ends.
            parent.timer.call_repeatedly(LOOK_SECONDS, count_beside_the_loop, (parent,))

    def shutdown(self, parent: Any) -> None:  # noqa: ANN401
        """Called by Celery last of all, when the pool has ended."""
        count(parent)


class EventConsumer(Consumer):
    """Celery's consumer with one more thing to know: what a message of our queues is."""

    connection_errors: tuple[type[Exception], ...]
    task_consumer: Any
    _paused: dict[str, str]  # queues by consumer tag

    class Blueprint(Consumer.Blueprint):  # type: ignore[valid-type,misc]
        """The stock blueprint without what brokers and Postgres do better."""

        default_steps = (
            *(step for step in Consumer.Blueprint.default_steps if step not in _LEFT_OUT),
            BindQueues,
            Chores,
        )

    def pause(self, queue: str) -> None:
        """Take nothing more from a queue. What the broker has sent before it heard of that is still its messages."""
        tag = self.task_consumer._active_tags.get(queue)
        if tag is not None:
            self._paused[tag] = queue
        self.cancel_task_queue(queue)

    def resume(self, queue: str) -> None:
        """Take from a queue again."""
        self.add_task_queue(queue)

    def create_task_handler(self, promise: Callable[..., Any] = vine_promise) -> Callable[[Message], None]:
        """The stock handler behind an adapter. Called anew at each connection to the broker."""
        handle_task = super().create_task_handler(promise)  # type: ignore[arg-type]
        self._paused = {}

        def on_message(message: Message) -> None:
            queue = None
            try:
                queue = self._queue_of(message)
                adapt(message, queue)
            except Exception as error:  # noqa: BLE001 - whatever a stranger's message does, the worker lives on
                self._refuse(message, error, queue)
            else:
                handle_task(message)

        return on_message

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """A body that kombu cannot even take apart is rejected; the stock worker would acknowledge and lose it."""
        self._refuse(message, exc, None)

    def _refuse(self, message: Message, error: Exception, queue: str | None) -> None:
        """What a stranger wrote is not told: the dead letter has it."""
        told = f"{type(error).__name__}: {unquoted(str(error))}"
        with bind(LogContext(BY_QUEUE[queue].name if queue else "unknown")):
            log.error("message_refused", error=told, queue=queue)
            message.reject_log_error(log, self.connection_errors)

    def _queue_of(self, message: Message) -> str:
        tag = message.delivery_info["consumer_tag"]
        queues = {known: str(queue) for queue, known in self.task_consumer._active_tags.items()}
        return queues.get(tag) or self._paused[tag]


def look(consumer: Any) -> None:  # noqa: ANN401 - Celery's consumer
    """Count what the children told, then let the circuit act on it. On the loop that also changes what is active."""
    consumer.app.circuit.look(consumer, count(consumer))


def count(consumer: Any) -> list[Word]:  # noqa: ANN401
    """Count what the children told; the words."""
    words: list[Word] = consumer.app.tally.look(tuple(active_requests))
    return words


def count_beside_the_loop(consumer: Any) -> None:  # noqa: ANN401
    """Count from the thread of the pool that ends, while the main one takes what has ended from the active."""
    with contextlib.suppress(RuntimeError):  # it did just now: nothing was read, and the next look reads it
        count(consumer)


def adapt(message: Message, queue: str) -> None:
    """Rewrite a CloudEvent, in place, as a protocol-2 task of its queue's step.

    Raises EnvelopeError for anything but an event that the step listens to.
    """
    body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
    attributes = in_our_form(attributes_of(message.headers), body)
    event = read(attributes, body, queue)
    # Quorum queues count what came back to them. The word of a stranger costs a claim more, and nothing else.
    counted = isinstance(message.headers, dict) and "x-delivery-count" in message.headers
    redelivered = counted or bool(message.delivery_info.get("redelivered"))
    message.headers = _task_headers(BY_QUEUE[queue].name, event, task_id(queue, event))
    message.properties = {}
    message.body = json.dumps(([attributes, body.decode(), redelivered], {}, _EMBED)).encode()
    message.content_type, message.content_encoding = "application/json", "utf-8"
    message._decoded_cache = None


def task_id(queue: str, event: Event) -> str:
    """One id per queue, event and try: two consumers of one event are two tasks, and so are two tries."""
    return str(uuid.uuid5(TASK_IDS, f"{queue}/{event.id}/{event.generation}"))


def _task_headers(name: str, event: Event, identifier: str) -> dict[str, object]:
    return {
        "lang": "py",
        "task": name,
        "id": identifier,
        "root_id": str(event.id),
        "parent_id": None,
        "group": None,
        "shadow": None,
        "retries": 0,
        "timelimit": [None, None],
        "eta": None,
        "expires": None,
        "argsrepr": f"({event.type} {event.id} try {event.generation})",
        "kwargsrepr": "{}",
        "origin": "waybill-relay",
        "ignore_result": True,
    }
