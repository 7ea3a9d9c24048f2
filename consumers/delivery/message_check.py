"""What a message of a step's queue must be: an event that the step listens to, in the version that it knows. Pure.

The worker asks before it runs a delivery, the collector asks why one was refused: the same checks, so the same answer.
"""

from orders.events import EVENT_TYPES
from orders.workflow import BY_QUEUE
from outbox.envelope import PREFIX, EnvelopeError, Event, decode


def attributes_of(headers: object) -> dict[str, object]:
    """The CloudEvents attributes among a message's headers; all else that a stranger wrote is left out."""
    if not isinstance(headers, dict):
        return {}
    return {name: value for name, value in headers.items() if isinstance(name, str) and name.startswith(PREFIX)}


def read(attributes: dict[str, object], body: bytes, queue: str) -> Event:
    """The event that a message of this queue is. Raises EnvelopeError for anything but one for the queue's step."""
    event = decode(attributes, body)
    step = BY_QUEUE[queue]
    if event.type not in step.listens_to:
        raise EnvelopeError(f"{step.name} does not listen to {event.type!r}")
    schema = EVENT_TYPES[event.type].schema_name()
    if event.dataschema not in {None, schema}:  # another version means other data under the same names
        raise EnvelopeError(f"dataschema {event.dataschema!r} is not {schema!r}")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise EnvelopeError(f"data is not UTF-8: {error}") from error
    return event
