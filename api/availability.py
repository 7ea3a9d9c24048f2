"""Tells a database that is away, which a client may try again, from a fault of ours."""

from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from runtime.database import is_unavailable

# SQLSTATE classes 08 connection, 53 out of resources, 57 operator intervention (restart, statement time-out); and
# single states: deadlock, lock time-out, a server that has become a read-only standby.
_CLASSES = ("08", "53", "57")
_STATES = ("40P01", "55P03", "25006")


def database_is_away(error: BaseException) -> bool:
    """Whether the same request can succeed later without anyone changing anything.

    The document store wraps its own OSErrors, so one that arrives here is of a connection to the database.
    """
    if is_unavailable(error) or isinstance(error, PoolTimeoutError | OSError):
        return True
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    return isinstance(state, str) and (state.startswith(_CLASSES) or state in _STATES)
