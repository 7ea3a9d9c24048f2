"""These tests share a database per module, and the product's topology in the broker."""

from collections.abc import Iterator

import pytest

from lab.stack.servers.obtain import ServerUrls
from tests import broker
from tests.outbox_to_broker import Ends
from tests.own_servers import OwnRabbitMQ, own_postgres, own_rabbitmq
from tests.shared_database import module_database, shared_database_url

__all__ = ["module_database", "own_postgres", "own_rabbitmq", "shared_database_url"]


@pytest.fixture(scope="module")
def clean_broker(servers: ServerUrls) -> Iterator[str]:
    """A broker without Waybill's queues, before and after this module."""
    broker.clean(servers.amqp_url)
    yield servers.amqp_url
    broker.clean(servers.amqp_url)


@pytest.fixture
def ends(shared_database_url: str, clean_broker: str) -> Ends:
    """An empty outbox and empty queues."""
    ends = Ends(shared_database_url, clean_broker)
    ends.declare()
    ends.purge()
    return ends


@pytest.fixture
def torn(shared_database_url: str, own_rabbitmq: OwnRabbitMQ) -> Ends:
    """An empty outbox before a broker that this package may torment."""
    ends = Ends(shared_database_url, own_rabbitmq.url)
    ends.declare()
    ends.purge()
    return ends
