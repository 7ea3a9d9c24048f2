"""These tests share a database per module."""

from tests.support.fixtures.adoption import home
from tests.support.fixtures.shared_database import module_database, shared_database_url

__all__ = ["home", "module_database", "shared_database_url"]
