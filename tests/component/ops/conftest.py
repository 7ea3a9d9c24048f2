"""The fixtures of this room."""

from tests.support.fixtures.dead_letter_commands import keyboard

__all__ = ["keyboard"]
