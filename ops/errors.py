"""The errors that an operator can correct. `ops.cli.exits` prints each as one line and exits with its code."""


class OpsError(Exception):
    """The root of the tree. The message names the fault, the value, and the remedy."""

    exit_code = 1


class OptionError(OpsError):
    """An option has a value that the command cannot use."""

    exit_code = 2


class NoSystemError(OpsError):
    """The environment names no system, and no local system was ever started in this checkout."""

    exit_code = 2


class ServerError(OpsError):
    """PostgreSQL or RabbitMQ does not answer, or did not start."""
