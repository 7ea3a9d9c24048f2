"""What can go wrong at the keyboard; `ops.cli` renders each as one line and ends with its exit code."""


class OpsError(Exception):
    """The root: a message for a person that says what was wrong, with which value, and what to do."""

    exit_code = 1


class OptionError(OpsError):
    """An option's value means nothing."""

    exit_code = 2


class NoSystemError(OpsError):
    """Neither does the environment name a system, nor was one ever started here."""

    exit_code = 2


class ServerError(OpsError):
    """PostgreSQL or RabbitMQ cannot be had, or did not come up."""


class InstanceBusyError(OpsError):
    """Another process works on the same instance folder."""


class StackError(OpsError):
    """A program of the local stack did not come up."""


class UnsafeTargetError(OpsError):
    """The server that was given holds something that a run would damage."""
