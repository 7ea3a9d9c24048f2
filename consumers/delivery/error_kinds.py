"""The meaning of a step's error: for its next attempt, and for an operator who sorts a thousand of them.

`kind_of` gives the kind by which `orders.workflow` decides. A fingerprint, error class and place in our code, is the
same for all errors of one cause, and stays the same when a line moves.
"""

import traceback
from types import TracebackType

from orders.workflow import ErrorKind
from outbox.failed_attempts import Failure
from runtime.database import may_pass, sqlstate
from runtime.documents import DocumentStoreError
from runtime.redaction.redact import redacted
from runtime.storable import storable

OURS = ("consumers", "orders", "outbox", "runtime")
# SQLSTATE classes of data that Postgres always refuses: data exceptions and broken constraints.
_BAD_DATA = ("22", "23")


class StepError(Exception):
    """A step could not do its work; the text says why, and `kind` whether another attempt may help.

    The next attempt is not made before `wait_seconds` have passed.
    """

    def __init__(self, message: str, wait_seconds: float = 0.0, *, kind: ErrorKind = ErrorKind.UNEXPECTED) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds
        self.kind = kind


class KilledWorkerError(Exception):
    """A delivery was claimed several times and never finished: it kills the worker that runs it."""


def kind_of(error: BaseException) -> ErrorKind:
    """The kind of an error: its own, or one of ours for the errors of libraries."""
    kind = getattr(error, "kind", None)
    if isinstance(kind, ErrorKind):
        return kind
    if isinstance(error, DocumentStoreError):
        return ErrorKind.SERVER
    if may_pass(error):
        return ErrorKind.CONNECTION if isinstance(error, OSError) else ErrorKind.LOCK
    if sqlstate(error).startswith(_BAD_DATA):
        return ErrorKind.BAD_DATA
    return ErrorKind.UNEXPECTED


def wait_seconds(error: BaseException) -> float:
    """The shortest wait before the next attempt."""
    return error.wait_seconds if isinstance(error, StepError) else 0.0


def failure_of(error: BaseException) -> Failure:
    """An error as it is stored, for people to read. A StepError that wraps an adapter's error is stored as that one."""
    root = error.__cause__ if isinstance(error, StepError) and error.__cause__ is not None else error
    trace = "".join(traceback.format_exception(error))
    return Failure(type(root).__name__, storable(redacted(str(error))), storable(redacted(trace)), fingerprint(root))


def fingerprint(error: BaseException) -> str:
    """Class and innermost place in our code, such as `ErpRefused@consumers.adapters.sap:SapClient.create`."""
    return f"{type(error).__name__}@{_place(error.__traceback__)}"


def _place(trace: TracebackType | None) -> str:
    found = "unknown"
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] in OURS:
            found = f"{module}:{trace.tb_frame.f_code.co_qualname}"
        trace = trace.tb_next
    return found
