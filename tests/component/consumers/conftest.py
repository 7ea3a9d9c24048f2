"""The fixtures of this room."""

from tests.support.fixtures.consumers import collector_harness, queues, settings, steps_database_url

__all__ = ["collector_harness", "queues", "settings", "steps_database_url"]
