"""The CloudEvents 1.0 envelope and its AMQP binary mode. Pure.

Attributes travel as headers `cloudEvents:<name>`, the data is the message body as it is. One extension attribute is
ours: `cloudEvents:generation`, the number by which a stale delivery is known, counted from 1 and absent on the first.
Source: CloudEvents 1.0.2, core specification and AMQP protocol binding (binary content mode).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import uuid_utils

PREFIX = "cloudEvents:"
TRACESTATE = PREFIX + "tracestate"  # CloudEvents' distributed tracing extension, like traceparent; never recorded
SPEC_VERSION = "1.0"
MAX_DATA_BYTES = 1_048_576  # far above an order of 1,000 lines, far below the broker's 128 MiB
MAX_GENERATION = 32_767  # smallint in the inbox
_NAME = re.compile(r"[a-z][a-z0-9_.]{0,99}\Z")
_CLOCK_SKEW = timedelta(days=1)


class EnvelopeError(Exception):
    """A message is not one of our events; the text names the attribute and its value."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: what happened (`type`) to which object (`subject`). `data` is JSON that only `orders` reads."""

    id: UUID
    type: str
    subject: str
    source: str
    time: datetime
    data: bytes
    dataschema: str | None = None
    traceparent: str | None = None
    generation: int = 1


def new_event_id() -> UUID:
    """A UUIDv7: unique, and in order of time to the millisecond, which the inbox is partitioned by."""
    return UUID(bytes=uuid_utils.uuid7().bytes)


def id_time(event_id: UUID) -> datetime:
    """The time at which a UUIDv7 was made (RFC 9562, section 5.7). Raises EnvelopeError for any other kind of id."""
    if event_id.version != 7:
        raise EnvelopeError(f"id {str(event_id)!r} is not a UUIDv7")
    try:
        return datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise EnvelopeError(f"id {str(event_id)!r} is of a time that no calendar has") from error


def lowest_id(moment: datetime) -> UUID:
    """The lowest UUIDv7 of a time: 48 bits of Unix milliseconds, the rest zero. A bound, never an event's id."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def encode_headers(event: Event) -> dict[str, str | int]:
    """The AMQP headers of an event; absent optional attributes are left out."""
    return headers_of(
        str(event.id),
        event.type,
        event.subject,
        event.source,
        event.time,
        event.dataschema,
        event.traceparent,
        event.generation,
    )


def headers_of(
    event_id: str,
    kind: str,
    subject: str,
    source: str,
    time: datetime,
    dataschema: str | None,
    traceparent: str | None,
    generation: int,
) -> dict[str, str | int]:
    """The headers from single attributes: the relay's hot path makes no Event for each message."""
    headers: dict[str, str | int] = {
        PREFIX + "specversion": SPEC_VERSION,
        PREFIX + "id": event_id,
        PREFIX + "type": kind,
        PREFIX + "source": source,
        PREFIX + "subject": subject,
        PREFIX + "time": (time if time.tzinfo is UTC else time.astimezone(UTC)).isoformat(),
    }
    if dataschema is not None:
        headers[PREFIX + "dataschema"] = dataschema
    if traceparent is not None:
        headers[PREFIX + "traceparent"] = traceparent
    if generation > 1:
        headers[PREFIX + "generation"] = generation
    return headers


def decode(headers: Mapping[str, object], body: bytes) -> Event:
    """The event of a message's headers and body, the inverse of `encode_headers`. Raises EnvelopeError.

    Each attribute is checked for type, form and bounds. Other headers are ignored.
    """
    if _text(headers, "specversion") != SPEC_VERSION:
        raise EnvelopeError(f"specversion {headers.get(PREFIX + 'specversion')!r} is not {SPEC_VERSION!r}")
    if len(body) > MAX_DATA_BYTES:
        raise EnvelopeError(f"data of {len(body)} bytes is over the limit of {MAX_DATA_BYTES}")
    return Event(
        id=_event_id(_text(headers, "id")),
        type=_event_type(_text(headers, "type")),
        subject=_text(headers, "subject"),
        source=_text(headers, "source"),
        time=_time(_text(headers, "time")),
        data=body,
        dataschema=_optional_text(headers, "dataschema"),
        traceparent=_optional_text(headers, "traceparent"),
        generation=_generation(headers.get(PREFIX + "generation", 1)),
    )


def _text(headers: Mapping[str, object], name: str) -> str:
    value = headers.get(PREFIX + name)
    if not isinstance(value, str) or not 0 < len(value) <= 255 or "\x00" in value:
        raise EnvelopeError(f"{name} {value!r:.300} is not a text of 1 to 255 characters")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise EnvelopeError(f"{name} {value!r} has a lone surrogate, which is no character")
    return value


def _optional_text(headers: Mapping[str, object], name: str) -> str | None:
    return _text(headers, name) if PREFIX + name in headers else None


def _event_id(text: str) -> UUID:
    try:
        event_id = UUID(text)
    except ValueError as error:
        raise EnvelopeError(f"id {text!r} is not a UUID") from error
    if id_time(event_id) > datetime.now(UTC) + _CLOCK_SKEW:
        raise EnvelopeError(f"id {text!r} is from the future: {id_time(event_id).isoformat()}")
    return event_id


def _event_type(text: str) -> str:
    if not _NAME.match(text):
        raise EnvelopeError(f"type {text!r} is not a dotted lower-case name")
    return text


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise EnvelopeError(f"time {text!r} is not an RFC 3339 time") from error
    if time.tzinfo is None:
        raise EnvelopeError(f"time {text!r} has no offset from UTC")
    return time


def _generation(value: object) -> int:
    if type(value) is not int or not 1 <= value <= MAX_GENERATION:
        raise EnvelopeError(f"generation {value!r:.300} is not a whole number from 1 to {MAX_GENERATION}")
    return value
