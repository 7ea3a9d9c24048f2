"""The error of a row that finds no partition. Without SQLAlchemy, which the relay does not load.

A partitioned table here has no default partition, so such a row is refused and its transaction with it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from asyncpg import CheckViolationError


class NoSegmentError(Exception):
    """No segment takes the event's id, so its transaction cannot be committed. It ends when segments are made."""


@contextmanager
def missing_segment_named() -> Iterator[None]:
    """Wrap a statement that records events: NoSegmentError replaces the driver's check violation."""
    try:
        yield
    except Exception as error:
        cause = lacks_partition(error, "events")
        if cause is None:
            raise
        event_id = "".join(re.findall(r"\((\d+)\)", cause.detail or "")) or "unknown"
        raise NoSegmentError(
            f"outbox.events has no segment for id {event_id}, so nothing was recorded: the relay that leads makes "
            "segments ahead and has not done so for long; start one, or run `waybill migrate`"
        ) from error


def lacks_partition(error: BaseException, table: str) -> CheckViolationError | None:
    """The driver's error if a row found no partition of `table`, else None.

    Postgres then names the table and no constraint; its message depends on the server's language. SQLAlchemy's error
    has the driver's one as the cause of its `orig`.
    """
    wrapped = getattr(error, "orig", None)
    cause = error if wrapped is None else wrapped.__cause__
    if isinstance(cause, CheckViolationError) and not cause.constraint_name and cause.table_name == table:
        return cause
    return None
