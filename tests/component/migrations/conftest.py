"""These tests share a database per module where they do not change the schema."""

from tests.support.fixtures.shared_database import module_database, shared_database_url

__all__ = ["module_database", "shared_database_url"]
