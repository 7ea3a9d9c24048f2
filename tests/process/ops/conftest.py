"""A database for the commands' tests, shared by a module and emptied before each."""

from tests.support.builders.audited_orders import audited, own_inbox, own_sap
from tests.support.fixtures.dead_letter_commands import keyboard
from tests.support.fixtures.shared_database import module_database, shared_database_url

__all__ = ["audited", "keyboard", "module_database", "own_inbox", "own_sap", "shared_database_url"]
