"""The opaque cursor of a list: where the next page begins, as base64url of (placed_at, id). Pure.

Its width is fixed, so that any other text is refused before it reaches a query.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from struct import Struct
from uuid import UUID

from api.field_errors import FieldError, shown
from api.problems import ProblemError, unacceptable

_LAYOUT = Struct(">q16s")  # microseconds since 1970, UUID
_FORM = re.compile(r"[A-Za-z0-9_-]{32}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def encode(placed_at: datetime, order_id: UUID) -> str:
    """The cursor of an order: the next page holds older orders."""
    return urlsafe_b64encode(_LAYOUT.pack((placed_at - _EPOCH) // timedelta(microseconds=1), order_id.bytes)).decode()


def decode(cursor: str) -> tuple[datetime, UUID]:
    """The placement time and the id in a cursor. Raises ProblemError, a 422 naming the cursor, for any other text."""
    if not _FORM.fullmatch(cursor):
        raise _foreign(cursor)
    microseconds, order_id = _LAYOUT.unpack(urlsafe_b64decode(cursor))
    try:
        return _EPOCH + timedelta(microseconds=microseconds), UUID(bytes=order_id)
    except OverflowError as error:  # a time that no calendar has
        raise _foreign(cursor) from error


def _foreign(cursor: str) -> ProblemError:
    message = "is not a cursor of ours; take the whole `next` link of the page before"
    return unacceptable([FieldError("cursor", shown(cursor), message)])
