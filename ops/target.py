"""The system that a command works on: the one that the environment names, or else the local one.

A local system is one that `lab up` started in this checkout. It writes `system.json` into its folder: the settings
that its processes run with, and the URL of each program's page. That file is all that this module knows of it.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from ops.errors import NoSystemError
from runtime.settings import Settings, SettingsError, load_settings

UP = Path(__file__).parents[1] / ".local" / "up"  # the folder of the local system
RECORD = "system.json"


@dataclass(frozen=True)
class LocalSystem:
    """What `system.json` says: settings by variable, and the URL of each program's page by program."""

    folder: Path
    environment: dict[str, str]
    pages: dict[str, str]

    def write(self) -> None:
        """Record it, readable by the owner alone: the settings hold passwords."""
        record = self.folder / RECORD
        record.touch(mode=0o600)
        record.write_text(json.dumps({"environment": self.environment, "pages": self.pages}, indent=2))


def local_system() -> LocalSystem | None:
    """The local system; None if none was ever started here."""
    record = UP / RECORD
    if not record.exists():
        return None
    return LocalSystem(UP, **json.loads(record.read_text()))


def local_system_in_question() -> LocalSystem | None:
    """The local system, if the environment names no database, or the local system's own."""
    system = local_system()
    if system is None or os.environ.get("DATABASE_URL") not in (None, "", system.environment["DATABASE_URL"]):
        return None
    return system


def settings_in_question() -> Settings:
    """The settings of the environment if it names a database or a broker, else those of the local system.

    Raises NoSystemError when there are neither, or when they are unusable.
    """
    system = _unnamed()
    if system is not None:
        known = {name.lower(): value for name, value in system.environment.items()}
        return Settings(**known)  # type: ignore[arg-type]  # pydantic reads numbers and paths from text
    try:
        return load_settings()
    except SettingsError as error:
        raise NoSystemError(f"{error}; set them, or start a system here with `make up`") from error


def prometheus_in_question() -> str | None:
    """The URL of the local system's Prometheus; None for a system that the environment names."""
    system = local_system_in_question()
    return None if system is None else system.pages.get("prometheus")


def name_of_system() -> str:
    """The system in question in a few words, for a command that changes it."""
    return f"the system of `make up` ({UP})" if _unnamed() is not None else "the system that the environment names"


def _unnamed() -> LocalSystem | None:
    """The local system, unless the environment names other servers, be it a broker alone."""
    system = local_system()
    if system is None or os.environ.get("DATABASE_URL"):
        return None
    return system if os.environ.get("AMQP_URL") in (None, "", system.environment["AMQP_URL"]) else None
