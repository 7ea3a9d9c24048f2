"""Ids of other services' events in the form that the inbox needs. Pure.

CloudEvents asks only that source and id together are unique. Our inbox is partitioned by the time in a UUIDv7, and a
late duplicate must land in the partition of the first delivery. So any other id is mapped to a UUIDv7 that is made of
the event's own time and a hash of its source and id: the same event has the same inbox key at every delivery.
Called by `consumers.delivery.message_check`. A UUIDv7 stays as it is, so that mapping twice changes nothing: a retry or
a replay brings the mapped id.

Price: a service that sends an event again with another `time` makes it a new event for us. CloudEvents forbids that.
"""

import hashlib
from datetime import datetime
from uuid import UUID

from outbox.envelope import EnvelopeError

_VERSION_7 = 7 << 76
_VARIANT = 2 << 62
_RANDOM_A, _RANDOM_B = 0xFFF << 64, (1 << 62) - 1


def inbox_id(source: str, identifier: str, time: str) -> UUID:
    """The UUIDv7 of an event of another service; `time` is its attribute, an RFC 3339 text. Raises EnvelopeError."""
    try:
        own = UUID(identifier)
    except ValueError:
        own = None
    if own is not None and own.version == 7:
        return own
    digest = hashlib.sha256(f"{source}\0{identifier}".encode()).digest()
    noise = int.from_bytes(digest[:10])
    return UUID(int=(_milliseconds(time) << 80) | _VERSION_7 | (noise & _RANDOM_A) | _VARIANT | (noise & _RANDOM_B))


def _milliseconds(time: str) -> int:
    try:
        moment = datetime.fromisoformat(time)
    except ValueError as error:
        raise EnvelopeError(f"time {time!r} is not an RFC 3339 time") from error
    milliseconds = int(moment.timestamp() * 1000) if moment.tzinfo is not None else -1
    if milliseconds < 0:
        raise EnvelopeError(f"time {time!r} has no offset from UTC, or is before 1970")
    return milliseconds
