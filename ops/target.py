"""Which system a question is about: the environment's, or else the one that `waybill up` started here."""

import os

from ops.errors import OpsError
from ops.local_stack import LOCAL, LocalStack
from runtime.settings import Settings, SettingsError, load_settings


def settings_in_question() -> Settings:
    """The settings of the environment if it names a database, else those of `waybill up`.

    Raises OpsError when there are neither, or when they are unusable.
    """
    stack = _own()
    if stack is not None:
        known = {name.lower(): value for name, value in stack.environment().items()}
        return Settings(**known)  # type: ignore[arg-type]  # pydantic reads numbers and paths from text
    try:
        return load_settings()
    except SettingsError as error:
        raise OpsError(f"{error}; set them, or start a system here with `make up`") from error


def prometheus_in_question() -> str | None:
    """Where the Prometheus of that system answers; None where nobody has said, which is so of a given one."""
    stack = _own()
    return stack.addresses.urls.get("prometheus") if stack is not None else None


def _own() -> LocalStack | None:
    stack = LocalStack.read(LOCAL / "up")
    return stack if not os.environ.get("DATABASE_URL") and stack.started_once else None
