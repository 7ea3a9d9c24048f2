"""The target of a command: the system that the environment names, or else the local system.

`lab up` starts the local system in this checkout and writes `system.json` into its folder: the settings of its
processes, and the URL of each program's page. This module reads nothing else of it.
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
    """The content of `system.json`: settings by variable, and the URL of each program's page by program."""

    folder: Path
    environment: dict[str, str]
    pages: dict[str, str]

    def write(self) -> None:
        """Write `system.json`, readable by its owner only: the settings hold passwords."""
        record = self.folder / RECORD
        record.touch(mode=0o600)
        record.write_text(json.dumps({"environment": self.environment, "pages": self.pages}, indent=2))


def local_system() -> LocalSystem | None:
    """The local system; None if it was never started in this checkout."""
    record = UP / RECORD
    if not record.exists():
        return None
    return LocalSystem(UP, **json.loads(record.read_text()))


def target_local_system() -> LocalSystem | None:
    """The local system if it is the target: the environment names no database, or the local system's own."""
    system = local_system()
    if system is None or os.environ.get("DATABASE_URL") not in (None, "", system.environment["DATABASE_URL"]):
        return None
    return system


def target_settings() -> Settings:
    """The settings of the environment if it names a database or a broker, else those of the local system.

    Raises NoSystemError if there are neither, or if they are unusable.
    """
    system = _unnamed()
    if system is not None:
        known = {name.lower(): value for name, value in system.environment.items()}
        return Settings(**known)  # type: ignore[arg-type]  # pydantic reads numbers and paths from text
    try:
        return load_settings()
    except SettingsError as error:
        raise NoSystemError(f"{error}; set them, or start a system here with `make up`") from error


def target_prometheus() -> str | None:
    """The URL of the local system's Prometheus; None for a system that the environment names."""
    system = target_local_system()
    return None if system is None else system.pages.get("prometheus")


def target_name() -> str:
    """The target in a few words, for the output of a command that changes it."""
    return f"the system of `make up` ({UP})" if _unnamed() is not None else "the system that the environment names"


def _unnamed() -> LocalSystem | None:
    """The local system, unless the environment names another database or broker."""
    system = local_system()
    if system is None or os.environ.get("DATABASE_URL"):
        return None
    return system if os.environ.get("AMQP_URL") in (None, "", system.environment["AMQP_URL"]) else None
