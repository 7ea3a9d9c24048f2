"""These tests share a database per module."""

from tests.support.fixtures.adoption import home
from tests.support.fixtures.shared_database import module_database, shared_database_url
from tests.support.servers.second_cluster import other_cluster

__all__ = ["home", "module_database", "other_cluster", "shared_database_url"]
