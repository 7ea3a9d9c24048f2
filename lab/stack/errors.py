"""Errors of a local system, beside those of `ops.errors`."""

from ops.errors import OpsError


class InstanceBusyError(OpsError):
    """Another process works on the same instance folder."""


class StackError(OpsError):
    """A program of the local stack did not come up."""


class UnsafeTargetError(OpsError):
    """The given server holds something that a run would damage."""
