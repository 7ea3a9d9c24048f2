"""The Celery task that a CloudEvent becomes: `adapt` rewrites a message in place. Called by `consumers.worker.intake`.

Every message is adapted, also one that calls itself a task: its headers are rebuilt from nothing and its attributes
come only from the `cloudEvents:` headers.
"""

import json
import uuid
from typing import Any

from consumers.delivery.message_check import attributes_of, in_our_form, read
from orders.workflow import BY_QUEUE
from outbox.envelope import Event

TASK_IDS = uuid.UUID("7f1d4ad2-4a40-4b5e-9d0e-0a4b8a6f2c55")  # namespace of our task ids; any constant would do
_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

Message = Any  # kombu.message.Message, whose types leave out the attributes that a worker needs


def adapt(message: Message, queue: str) -> None:
    """Rewrite a CloudEvent, in place, as a protocol-2 task of its queue's step.

    Raises EnvelopeError for anything but an event that the step listens to.
    """
    body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
    attributes = in_our_form(attributes_of(message.headers), body)
    event = read(attributes, body, queue)
    redelivered = _redelivered(message)
    message.headers = _task_headers(BY_QUEUE[queue].name, event, task_id(queue, event))
    message.properties = {}
    message.body = json.dumps(([attributes, body.decode(), redelivered], {}, _EMBED)).encode()
    message.content_type, message.content_encoding = "application/json", "utf-8"
    message._decoded_cache = None


def task_id(queue: str, event: Event) -> str:
    """One id per queue, event and generation: two consumers of one event are two tasks, and so are two generations."""
    return str(uuid.uuid5(TASK_IDS, f"{queue}/{event.id}/{event.generation}"))


def _redelivered(message: Message) -> bool:
    # Quorum queues count returned messages in a header. A forged one costs a claim, and nothing else.
    counted = isinstance(message.headers, dict) and "x-delivery-count" in message.headers
    return counted or bool(message.delivery_info.get("redelivered"))


def _task_headers(name: str, event: Event, identifier: str) -> dict[str, object]:
    return {
        "lang": "py",
        "task": name,
        "id": identifier,
        "root_id": str(event.id),
        "parent_id": None,
        "group": None,
        "shadow": None,
        "retries": 0,
        "timelimit": [None, None],
        "eta": None,
        "expires": None,
        "argsrepr": f"({event.type} {event.id} generation {event.generation})",
        "kwargsrepr": "{}",
        "origin": "waybill-relay",
        "ignore_result": True,
    }
