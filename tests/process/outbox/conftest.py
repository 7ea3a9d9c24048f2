"""The fixtures of this room."""

from tests.support.fixtures.adoption import home
from tests.support.servers.second_cluster import other_cluster

__all__ = ["home", "other_cluster"]
