"""The fixtures of this room."""

from tests.support.fixtures.adoption import home

__all__ = ["home"]
