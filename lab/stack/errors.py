"""Errors of a local system, beside those of `ops.errors`."""

from ops.errors import OpsError


class InstanceBusyError(OpsError):
    """Another process uses the same instance folder."""


class StackError(OpsError):
    """A program of the local stack did not start."""


class UnsafeTargetError(OpsError):
    """The given server holds data that a run would damage."""
