"""The fixtures of this room."""

from tests.support.fixtures.consumers import morgue, settings, steps_database_url
from tests.support.fixtures.shared_database import module_database, shared_database_url

__all__ = ["module_database", "morgue", "settings", "shared_database_url", "steps_database_url"]
