"""The fixtures of this room."""

from tests.support.fixtures.relay import clean_broker, harness, private_broker_harness, private_database_harness

__all__ = ["clean_broker", "harness", "private_broker_harness", "private_database_harness"]
