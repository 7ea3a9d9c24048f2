"""The fixtures of this room."""

from tests.support.fixtures.relay import clean_broker, harness, private_broker_harness, private_database_harness
from tests.support.fixtures.shared_database import module_database, shared_database_url
from tests.support.servers.private_servers import own_postgres, own_rabbitmq

__all__ = [
    "clean_broker",
    "harness",
    "module_database",
    "own_postgres",
    "own_rabbitmq",
    "private_broker_harness",
    "private_database_harness",
    "shared_database_url",
]
