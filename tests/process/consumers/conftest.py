"""The fixtures of this room."""

from tests.support.fixtures.consumers import collector_harness, queues, settings, steps_database_url
from tests.support.fixtures.shared_database import module_database, shared_database_url
from tests.support.servers.private_servers import own_postgres

__all__ = [
    "collector_harness",
    "module_database",
    "own_postgres",
    "queues",
    "settings",
    "shared_database_url",
    "steps_database_url",
]
