"""Garbage: messages that no program of ours would send, and that a worker must refuse and survive. Pure.

Each has a mark in its body, by which it is recognised among the dead letters.
"""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from outbox.envelope import Event, encode_headers, new_event_id

MARK = "prove-garbage"
HUGE_CHARACTERS = 60_000  # of headers; a frame of the broker holds 131,072 bytes

Headers = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Garbage:
    """One message for one queue; `properties` are AMQP's."""

    name: str
    headers: Headers
    body: bytes
    properties: Mapping[str, str] = field(default_factory=dict)


def garbage(mark: str, event_type: str, step: str) -> list[Garbage]:
    """One of each form, for the queue of `step`, which listens to `event_type`."""
    return [form(mark, event_type, step) for form in FORMS]


def _body(mark: str) -> bytes:
    return json.dumps([[], {}, {"mark": mark}]).encode()


def _sound(event_type: str) -> Headers:
    """The headers of an event that could be one of ours."""
    return dict(encode_headers(Event(new_event_id(), event_type, MARK, "urn:waybill:prove", datetime.now(UTC), b"{}")))


def _with(event_type: str, **attributes: object) -> Headers:
    return _sound(event_type) | {f"cloudEvents:{name}": value for name, value in attributes.items()}


def _without_id(mark: str, event_type: str, _step: str) -> Garbage:
    headers = {name: value for name, value in _sound(event_type).items() if name != "cloudEvents:id"}
    return Garbage("an event without an id", headers, _body(mark))


def _unreadable_body(mark: str, _type: str, _step: str) -> Garbage:
    properties = {"content_type": "application/json", "content_encoding": "utf-8"}
    return Garbage("a body that is no text", {}, b"\xff\xfe{" + mark.encode(), properties)


def _no_headers(mark: str, _type: str, _step: str) -> Garbage:
    return Garbage("no headers at all", {}, _body(mark))


def _wrong_types(mark: str, event_type: str, _step: str) -> Garbage:
    return Garbage("attributes of wrong types", _with(event_type, id=7, time=["now"], subject={"a": 1}), _body(mark))


def _no_json(mark: str, event_type: str, _step: str) -> Garbage:
    return Garbage("an event whose data is no JSON", _sound(event_type), b"{" + mark.encode())


def _other_id(mark: str, event_type: str, _step: str) -> Garbage:
    return Garbage("an id that is no UUIDv7", _with(event_type, id=str(uuid.uuid4())), _body(mark))


def _from_the_future(mark: str, event_type: str, _step: str) -> Garbage:
    milliseconds = int((datetime.now(UTC) + timedelta(days=400)).timestamp() * 1000)
    future = uuid.UUID(int=(new_event_id().int & (2**80 - 1)) | milliseconds << 80)
    return Garbage("an id from the future", _with(event_type, id=str(future)), _body(mark))


def _generation_as_text(mark: str, event_type: str, _step: str) -> Garbage:
    return Garbage("a generation that is a text", _with(event_type, generation="second"), _body(mark))


def _task(mark: str, _type: str, step: str) -> Garbage:
    headers = {"lang": "py", "task": step, "id": str(uuid.uuid4()), "root_id": None, "argsrepr": "()"}
    properties = {"content_type": "application/json", "content_encoding": "utf-8"}
    return Garbage("one of our tasks, well formed", headers, _body(mark), properties)


def _task_without_id(mark: str, _type: str, step: str) -> Garbage:
    return Garbage("a task without its id", {"task": step, "timelimit": 7, "eta": "tomorrow"}, _body(mark))


def _task_of_any_type(mark: str, _type: str, _step: str) -> Garbage:
    return Garbage("a task that is a dict", {"task": {"name": "x"}, "id": [1, 2]}, _body(mark))


def _pickle(mark: str, _type: str, _step: str) -> Garbage:
    properties = {"content_type": "application/x-python-serialize", "content_encoding": "binary"}
    return Garbage("a pickle", {}, b"\x80\x04cos\nsystem\n(S'true'\ntR." + mark.encode(), properties)


def _huge_headers(mark: str, event_type: str, _step: str) -> Garbage:
    headers = _with(event_type, traceparent="x" * HUGE_CHARACTERS)
    return Garbage("huge headers", headers, _body(mark))


FORMS: tuple[Callable[[str, str, str], Garbage], ...] = (
    _without_id,
    _unreadable_body,
    _no_headers,
    _wrong_types,
    _no_json,
    _other_id,
    _from_the_future,
    _generation_as_text,
    _task,
    _task_without_id,
    _task_of_any_type,
    _pickle,
    _huge_headers,
)
