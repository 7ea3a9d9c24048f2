"""The fixtures of this room."""

from tests.support.fixtures.relay import clean_broker, harness

__all__ = ["clean_broker", "harness"]
