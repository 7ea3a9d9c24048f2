"""The fixtures of this room."""

from tests.support.fixtures.relay import clean_broker, harness
from tests.support.fixtures.shared_database import module_database, shared_database_url
from tests.support.servers.private_servers import own_postgres

__all__ = ["clean_broker", "harness", "module_database", "own_postgres", "shared_database_url"]
