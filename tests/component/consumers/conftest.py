"""The fixtures of this room."""

from tests.support.fixtures.consumers import collector_harness, queues, settings, steps_database_url
from tests.support.fixtures.shared_database import module_database, shared_database_url

__all__ = [
    "collector_harness",
    "module_database",
    "queues",
    "settings",
    "shared_database_url",
    "steps_database_url",
]
