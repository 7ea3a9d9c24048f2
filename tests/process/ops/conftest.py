"""The fixtures of this room."""

from tests.support.builders.audited_orders import audited, own_inbox, own_sap
from tests.support.fixtures.dead_letter_commands import keyboard

__all__ = ["audited", "keyboard", "own_inbox", "own_sap"]
