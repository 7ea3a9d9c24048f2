"""The fixtures of this room."""

from tests.support.fixtures.shared_database import module_database, shared_database_url

__all__ = ["module_database", "shared_database_url"]
