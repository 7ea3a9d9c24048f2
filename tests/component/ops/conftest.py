"""A database for the commands' tests, shared by a module and emptied before each."""

from tests.support.fixtures.dead_letter_commands import keyboard
from tests.support.fixtures.shared_database import module_database, shared_database_url

__all__ = ["keyboard", "module_database", "shared_database_url"]
