"""Errors of a command. `ops.cli.exits` renders each as one line and ends the program with its exit code."""


class OpsError(Exception):
    """The root. The message says what was wrong, with which value, and what to do."""

    exit_code = 1


class OptionError(OpsError):
    """An option's value means nothing."""

    exit_code = 2


class NoSystemError(OpsError):
    """The environment names no system, and none was ever started here."""

    exit_code = 2


class ServerError(OpsError):
    """PostgreSQL or RabbitMQ cannot be reached, or did not come up."""
