"""The fixtures of this room."""

from tests.support.fixtures.shared_database import module_database, shared_database_url
from tests.support.fixtures.tracing import settings

__all__ = ["module_database", "settings", "shared_database_url"]
