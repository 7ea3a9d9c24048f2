"""The error of a group of tasks, as one error: what its callers can name and handle.

Python before 3.11.4 puts an error that is raised in an `except*` block into a group of its own. So nothing is raised in
one; use this instead. Used by `ops.audit.probes` and by the lab.
"""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def first_error(kind: type[Exception]) -> Iterator[None]:
    """Raise the first error of a group in place of the group if all its errors are of this kind; else the group."""
    try:
        yield
    except ExceptionGroup as group:
        errors: BaseException = group
        if group.split(kind)[1] is not None:
            raise
        while isinstance(errors, BaseExceptionGroup):
            errors = errors.exceptions[0]
        raise errors from group
