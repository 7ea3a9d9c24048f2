"""Which system a question is about: the environment's, or else the one that `waybill up` started here."""

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from ops.commands import UP
from ops.errors import NoSystemError
from ops.local_stack import LocalStack
from ops.postgres import binaries
from runtime.settings import Settings, SettingsError, load_settings

# How the programs of `make up` run, and ports that they hold: a program that is started by hand has ways of its own.
NOT_FOR_A_SHELL = ("PYTHONUNBUFFERED", "LOG_FORMAT", "RELAY_HTTP_PORT", "COLLECTOR_HTTP_PORT")
# Under which names the docs know the pages of the programs.
PAGES = {"API": "api", "RELAY": "relay", "SAP": "sap", "MAIL": "smtp", "PROMETHEUS": "prometheus"}


def settings_in_question() -> Settings:
    """The settings of the environment if it names a database or a broker, else those of `waybill up`.

    Raises NoSystemError when there are neither, or when they are unusable.
    """
    stack = _own()
    if stack is not None:
        known = {name.lower(): value for name, value in stack.environment().items()}
        return Settings(**known)  # type: ignore[arg-type]  # pydantic reads numbers and paths from text
    try:
        return load_settings()
    except SettingsError as error:
        raise NoSystemError(f"{error}; set them, or start a system here with `make up`") from error


def prometheus_in_question() -> str | None:
    """Where the Prometheus of that system answers; None where nobody has said, which is so of a given one."""
    stack = LocalStack.read(UP)
    ours = stack.started_once and os.environ.get("DATABASE_URL") in (None, "", stack.database_url)
    return stack.addresses.urls.get("prometheus") if ours else None


def is_local() -> bool:
    """Whether the system in question is the one that `waybill up` started here, whose programs a supervisor keeps."""
    return prometheus_in_question() is not None


def name_of_system() -> str:
    """The system in question in a few words, for a command that changes it."""
    return f"the system of `make up` ({UP})" if _own() is not None else "the system that the environment names"


def shell_lines() -> Iterator[str]:
    """`export` lines that make a shell speak to the local instance. Raises NoSystemError if none was ever started."""
    stack = LocalStack.read(UP)
    if not stack.started_once:
        raise NoSystemError(f"nothing was ever started in {UP}; `make up` starts a system here, then ask again")
    own, servers = shlex.quote(str(Path(sys.executable).parent)), shlex.quote(str(binaries()))
    yield f'export PATH={own}:"$PATH":{servers}'  # waybill itself; and psql, where the machine has none
    urls = stack.addresses.urls
    pages = {name: urls[program] for name, program in PAGES.items() if program in urls}
    for name, value in {**stack.environment(), **pages}.items():
        if name not in NOT_FOR_A_SHELL:
            yield f"export {name}={shlex.quote(value)}"


def _own() -> LocalStack | None:
    """The local instance, unless the environment names other servers: a broker alone is a given one, too."""
    stack = LocalStack.read(UP)
    if os.environ.get("DATABASE_URL") or not stack.started_once:
        return None
    return stack if os.environ.get("AMQP_URL") in (None, "", stack.amqp_url) else None
