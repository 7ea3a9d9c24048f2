"""A recorder of the order in which first copies of events arrive: a queue of its own, bound to every event type.

It has one consumer that takes one message at a time, because a broker may requeue unacknowledged messages in another
order. The consumer reconnects after every restart; a copy of an event that is recorded already is no first copy. The
queue is not in the list of required queues, so it changes nothing for the relay.
"""

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import amqp

from ops.doctor import broker_client
from orders.events import EVENT_TYPES
from outbox.envelope import PREFIX

QUEUE = "prove.recorder"
WAIT_SECONDS = 0.5
# Never reached: each message that a restart requeues counts as a delivery.
ARGUMENTS = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000, "x-single-active-consumer": True}


class Recorder:
    """`arrived` holds (event id, subject) of each first copy, in order of arrival."""

    def __init__(self, amqp_url: str, exchange: str) -> None:
        self._amqp_url = amqp_url
        self._exchange = exchange
        self._stopping = threading.Event()
        self.arrived: dict[str, str] = {}

    @contextmanager
    def running(self) -> Iterator["Recorder"]:
        """Record for the time of the block; the queue is bound before it begins. Raises ServerError."""
        with broker_client.connection(self._amqp_url) as link:
            channel = link.channel()
            channel.queue_declare(QUEUE, durable=True, auto_delete=False, arguments=ARGUMENTS)
            for event_type in EVENT_TYPES:
                channel.queue_bind(QUEUE, self._exchange, event_type)
        thread = threading.Thread(target=self._keep_recording, name="recorder", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            thread.join()

    def _keep_recording(self) -> None:
        while not self._stopping.is_set():
            # Any error: a connection that breaks within a frame raises many kinds. The loop reconnects.
            with contextlib.suppress(Exception):
                self._record()
            self._stopping.wait(WAIT_SECONDS)

    def _record(self) -> None:
        with broker_client.connection(self._amqp_url) as link:
            channel = link.channel()
            channel.basic_qos(0, 1, False)

            def take(message: amqp.Message) -> None:
                assert message.headers is not None, "every event has headers"
                assert message.delivery_tag is not None, "every delivered message has a tag"
                self.arrived.setdefault(str(message.headers[f"{PREFIX}id"]), str(message.headers[f"{PREFIX}subject"]))
                channel.basic_ack(message.delivery_tag)

            channel.basic_consume(QUEUE, callback=take)
            while not self._stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    link.drain_events(timeout=WAIT_SECONDS)
