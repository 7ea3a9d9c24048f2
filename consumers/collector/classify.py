"""Classification of a dead message: the reason of its dead letter. Pure. Called by `consumers.collector.sweep`.

| reason                                     | source                                                            |
|--------------------------------------------|-------------------------------------------------------------------|
| unrouted                                   | the queue it lies in: no step listens to its type                 |
| delivery_limit, expired                    | the broker, in the message's headers                              |
| undecodable                                | this module: the step could not read it                           |
| rejected, retries_exhausted, killed_worker | the inbox, which has the error and the place in our code          |
| expired                                    | the inbox has no row: the event is older than its oldest month    |
| rejected                                   | no source: the message was rejected, and nothing is recorded      |

The first row that applies wins. Every message can be stored, whatever it holds: a value that Postgres or JSON cannot
hold is kept in another form, never left out.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from consumers.collector.queues import Taken
from consumers.delivery.message_check import attributes_of, in_our_form, read
from orders.events import EventDataError, parse_order_id
from orders.workflow import BY_QUEUE
from outbox.dead_letter_reason import DeadLetterReason
from outbox.dead_letters.amqp_json import to_json
from outbox.dead_letters.store import Cause, DeliveryKey, NewDeadLetter
from outbox.envelope import EnvelopeError, Event, decode
from runtime.storable import storable

# RabbitMQ's counts in AMQP's encoding: a short string, then an integer of one of the types.
_COUNT = re.compile(rb"\x10x-(?:delivery|acquired)-count(?:[bB].|[sUu].{2}|[Ii].{4}|[lL].{8})", re.DOTALL)

BY_THE_BROKER: Mapping[str, str] = {
    DeadLetterReason.DELIVERY_LIMIT: "it was delivered as often as the broker allows, and never finished",
    DeadLetterReason.EXPIRED: "it waited longer than its time to live",
}
NO_CAUSE_RECORDED = "no cause is recorded; a worker's log line step_broke or event_refused, by its event_id, says more"


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """A dead message, the event read from it, and the error with which its step could not read it."""

    message: Taken
    event: Event | None
    problem: Exception | None

    @property
    def delivery(self) -> DeliveryKey | None:
        """The delivery that the inbox may have a row for."""
        if self.event is None or self.message.queue not in BY_QUEUE:
            return None
        return self.message.queue, self.event.id, self.event.generation


@dataclass(frozen=True, slots=True)
class _Classification:
    """Reason and cause."""

    reason: str
    fingerprint: str
    error_class: str | None = None
    error: str | None = None
    error_trace: str | None = None


def inspect(message: Taken) -> DeadMessage:
    """Read a dead message as its step would."""
    attributes = attributes_of(message.headers)
    event: Event | None = None
    try:
        own = in_our_form(attributes, message.body)
        if own is not attributes and isinstance(message.headers, dict):  # a replay must find an id that it can record
            attributes, message = own, replace(message, headers={**message.headers, **own})
        event = decode(attributes, message.body)
        if message.queue in BY_QUEUE:
            read(attributes, message.body, message.queue)
            parse_order_id(event.type, event.data)
    except (EnvelopeError, EventDataError) as error:
        return DeadMessage(message, event, error)
    return DeadMessage(message, event, None)


def dead_letter_of(dead: DeadMessage, cause: Cause | None, lowest: UUID | None) -> NewDeadLetter:
    """The dead letter of a dead message. `cause` comes from the inbox, `lowest` is the lowest event id it keeps."""
    message, event = dead.message, dead.event
    death = _death(message)
    found = _classified(dead, death.get("reason"), cause, lowest)
    kept = _kept(message)
    properties, headers = kept or ({}, _raw(message))
    return NewDeadLetter(
        queue=message.queue,
        consumer=message.queue if message.queue in BY_QUEUE else None,
        body=message.body,
        headers=headers,
        properties=properties,
        reason=found.reason,
        fingerprint=storable(found.fingerprint),
        event_id=None if event is None else event.id,
        type=None if event is None else event.type,
        subject=None if event is None else storable(event.subject),
        generation=None if event is None else event.generation,
        died_at=_died_at(death),
        error_class=found.error_class,
        error=found.error and storable(found.error),
        error_trace=found.error_trace and storable(found.error_trace),
        identity=None if kept else _identity(message.raw_properties),
    )


def bare(dead_letter: NewDeadLetter, message: Taken) -> NewDeadLetter:
    """The same dead letter with its headers as bytes, for headers that Postgres refuses."""
    return NewDeadLetter(
        queue=dead_letter.queue,
        consumer=dead_letter.consumer,
        body=dead_letter.body,
        headers=_raw(message),
        reason=DeadLetterReason.UNDECODABLE,
        fingerprint=f"undecodable:Unstorable@{dead_letter.queue}",
        died_at=dead_letter.died_at,
        error_class="Unstorable",
        error="Postgres cannot store its headers; they are kept as bytes",
        identity=_identity(message.raw_properties),
    )


def _classified(dead: DeadMessage, death: object, cause: Cause | None, lowest: UUID | None) -> _Classification:
    queue, event, problem = dead.message.queue, dead.event, dead.problem
    if queue not in BY_QUEUE:
        error = str(problem) if event is None else f"no queue is bound for {event.type}"
        return _Classification(DeadLetterReason.UNROUTED, "unrouted", None, error)
    if isinstance(death, str) and death in BY_THE_BROKER:
        return _Classification(death, f"{death}@{queue}", None, BY_THE_BROKER[death])
    if cause is not None:
        reason = cause.reason or DeadLetterReason.REJECTED
        fingerprint = cause.fingerprint or f"{cause.error_class or reason}@{queue}"
        return _Classification(reason, fingerprint, cause.error_class, cause.error, cause.error_trace)
    if problem is not None:
        kind = type(problem).__name__
        return _Classification(DeadLetterReason.UNDECODABLE, f"undecodable:{kind}@{queue}", kind, str(problem))
    if event is not None and lowest is not None and event.id < lowest:
        return _Classification(
            DeadLetterReason.EXPIRED, f"expired@{queue}", None, "its event is older than the inbox's oldest row"
        )
    return _Classification(DeadLetterReason.REJECTED, f"rejected@{queue}", None, NO_CAUSE_RECORDED)


def _death(message: Taken) -> Mapping[str, Any]:
    """The broker's x-death entry: the one of the queue that it died in, or else the newest."""
    headers = message.headers if isinstance(message.headers, dict) else {}
    entries = headers.get("x-death")
    deaths = [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
    here = [one for one in deaths if one.get("queue") == message.queue]
    return next(iter(here or deaths), {"reason": headers.get("x-first-death-reason")})


def _died_at(death: Mapping[str, Any]) -> datetime | None:
    moment = death.get("time")
    if not isinstance(moment, datetime):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # py-amqp's times are UTC without a time zone


def _kept(message: Taken) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Properties and headers as JSON; None if they could not be read, or are too deep for JSON."""
    unread = not message.headers and not message.properties and message.raw_properties.strip(b"\x00")
    if not unread:
        with suppress(TypeError, ValueError, RecursionError):
            properties, headers = to_json(message.properties), to_json(message.headers or {})
            json.dumps([properties, headers])
            return properties, headers
    return None


def _raw(message: Taken) -> dict[str, Any]:
    return {"$raw": base64.b64encode(message.raw_properties).decode()}


def _identity(raw: bytes) -> str:
    """Hash of the properties that stay the same when the message is delivered again.

    The broker's count changes, and with it the length of the headers, which come after 16 flags and two short texts.
    Source: AMQP 0-9-1, section 4.2.6.1.
    """
    flags, start = int.from_bytes(raw[:2]), 2
    for given in (flags & 0x8000, flags & 0x4000):
        if given:
            start += 1 + int.from_bytes(raw[start : start + 1])
    return hashlib.sha256(raw[:start] + _COUNT.sub(b"", raw[start + 4 :])).hexdigest()
