"""Bindings of a worker's queues, made again at its start and at each connect: a lost binding starves it silently.

A worker declares no queue, because a queue that is made again without its bindings would miss every event.
"""

import time
from typing import Any

from amqp.exceptions import NotFound
from celery import bootsteps
from kombu import Connection

from consumers.topology import bind_again
from orders.workflow import steps_of
from runtime.logging import get_logger
from runtime.loops import Backoff
from runtime.settings import Settings

# Between two checks for a queue that is not there yet.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0

log = get_logger(__name__)


class BindQueues(bootsteps.StartStopStep):
    """Binds the worker's queues at each connect to the broker.

    A queue that is gone ends the connect with the broker's 404, and the worker connects again until the queue is back.
    """

    requires = ("celery.worker.consumer.connection:Connection",)

    def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's consumer
        """Called by Celery when the connection is open."""
        queues = parent.app.conf.task_queues
        with parent.connection.channel() as channel:
            bind_again(channel, queues[0].exchange.name, frozenset(queue.name for queue in queues))


def bind_at_start(settings: Settings, pool: str) -> None:
    """Bind a pool's queues; wait, and log it, while the broker or one of them is not there."""
    queues = frozenset(step.queue for step in steps_of(pool))
    # Short pauses at first, because `topology apply` may run at this moment.
    backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
    while True:
        try:
            with Connection(settings.amqp_url) as connection:
                connection.ensure_connection(errback=_log_broker_away, interval_start=1, interval_max=5)
                bind_again(connection.default_channel, settings.event_exchange, queues)
        except NotFound as error:
            pause = backoff.next()
            log.warning(
                "queue_missing", error=error.reply_text, remedy="waybill topology apply", retry_in_seconds=pause
            )
            time.sleep(pause)
        else:
            return


def _log_broker_away(error: Exception, seconds: float) -> None:
    log.warning("broker_away", error=str(error), retry_in_seconds=seconds)
