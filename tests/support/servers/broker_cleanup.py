"""A clean broker for each test: all that Waybill's topology may have declared is deleted."""

from consumers import topology
from ops.doctor.broker_client import connection
from runtime.settings import Settings

EVENT_EXCHANGE: str = Settings.model_fields["event_exchange"].default


def clean(amqp_url: str) -> None:
    """Delete Waybill's queues with their messages, and its exchanges. Deleting a missing queue is no error."""
    with connection(amqp_url) as link:
        channel = link.channel()
        for queue in {queue.name for queue, _, _ in topology.bindings(EVENT_EXCHANGE)}:
            channel.queue_delete(queue)
        for exchange in topology.exchanges(EVENT_EXCHANGE):
            channel.exchange_delete(exchange.name)
