"""The check of a step's message: an event that the step listens to, in the version that it knows. Pure.

The worker calls it before it runs a delivery (`consumers.worker.cloud_event_task`), the collector to say why a message
was refused (`consumers.collector.classify`): the same checks give the same answer.
"""

from orders.events import EXTERNAL_EVENTS, parse_order_id, schema_of
from orders.workflow import BY_QUEUE
from outbox.envelope import PREFIX, EnvelopeError, Event, decode
from outbox.external_id import inbox_id


def attributes_of(headers: object) -> dict[str, object]:
    """The CloudEvents attributes among a message's headers; everything else is left out."""
    if not isinstance(headers, dict):
        return {}
    return {name: value for name, value in headers.items() if isinstance(name, str) and name.startswith(PREFIX)}


def in_our_form(attributes: dict[str, object], body: bytes) -> dict[str, object]:
    """Another service's event with an id that the inbox can keep and its order as the subject; any other as it is.

    Called by the worker before `read`, and by the collector, so that the dead letter can be replayed. Raises
    EnvelopeError and EventDataError.
    """
    kind, source, identifier, time = (attributes.get(PREFIX + name) for name in ("type", "source", "id", "time"))
    if not isinstance(kind, str) or kind not in EXTERNAL_EVENTS:
        return attributes
    if not isinstance(source, str) or not isinstance(identifier, str) or not isinstance(time, str):
        raise EnvelopeError(f"{kind} lacks a source, an id or a time that is a text")
    own_id = inbox_id(source, identifier, time)
    return {**attributes, PREFIX + "id": str(own_id), PREFIX + "subject": str(parse_order_id(kind, body))}


def read(attributes: dict[str, object], body: bytes, queue: str) -> Event:
    """The event in a message of this queue. Raises EnvelopeError unless it is one for the queue's step."""
    event = decode(attributes, body)
    step = BY_QUEUE[queue]
    if event.type not in step.listens_to:
        raise EnvelopeError(f"{step.name} does not listen to {event.type!r}")
    schema = schema_of(event.type)
    if event.dataschema not in {None, schema}:  # another version means other data under the same names
        raise EnvelopeError(f"dataschema {event.dataschema!r} is not {schema!r}")
    external = EXTERNAL_EVENTS.get(event.type)
    if external is not None and event.source != external.source:
        raise EnvelopeError(f"source {event.source!r} of {event.type} is not {external.source!r}")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise EnvelopeError(f"data is not UTF-8: {error}") from error
    return event
