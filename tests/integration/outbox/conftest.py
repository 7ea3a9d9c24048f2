"""These tests share a database per module."""

from tests.shared_database import module_database, shared_database_url

__all__ = ["module_database", "shared_database_url"]
