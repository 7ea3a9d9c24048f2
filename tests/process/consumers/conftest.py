"""The fixtures of this room."""

from tests.support.fixtures.consumers import morgue, settings, steps_database_url
from tests.support.fixtures.shared_database import module_database, shared_database_url
from tests.support.servers.private_servers import own_postgres

__all__ = ["module_database", "morgue", "own_postgres", "settings", "shared_database_url", "steps_database_url"]
