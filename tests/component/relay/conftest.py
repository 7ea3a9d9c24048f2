"""The fixtures of this room."""

from tests.support.fixtures.relay import clean_broker, harness
from tests.support.fixtures.shared_database import module_database, shared_database_url

__all__ = ["clean_broker", "harness", "module_database", "shared_database_url"]
