"""The fixtures of this room."""

from tests.support.fixtures.tracing import settings

__all__ = ["settings"]
