"""Messages that are no valid events, by what is wrong with them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from outbox.envelope import new_event_id
from tests.support.probes.broker_queues import Raw

Headers = dict[Any, Any]


def future_id() -> str:
    future = int((datetime.now(UTC) + timedelta(days=2)).timestamp() * 1000)
    return str(UUID(int=(new_event_id().int & (2**80 - 1)) | future << 80))


def raw_time(seconds: int) -> Raw:
    return Raw(b"T" + seconds.to_bytes(8))


def raw_text(content: bytes) -> Raw:
    return Raw(b"S" + len(content).to_bytes(4) + content)


def stock_task(name: object = "validate_order", **more: object) -> Headers:
    return {"lang": "py", "task": name, "id": str(uuid4()), "root_id": None, "argsrepr": "()", **more}


STOCK_BODY = b"[[], {}, {}]"
# Refused by the worker's main process: headers, body, properties.
NO_EVENTS: dict[str, tuple[Headers | None, bytes, dict[str, Any]]] = {
    "nothing at all": (None, b"", {}),
    "no headers": (None, b'{"order_id": 1}', {}),
    "a body that is not JSON": ({}, b"{not json", {"content_type": "application/json", "content_encoding": "utf-8"}),
    "a task without its id": ({"task": "validate_order"}, STOCK_BODY, {}),
    "a task that is a list": (stock_task(["validate_order"]), STOCK_BODY, {}),
    "a task that is a dict": (stock_task({"name": "validate_order"}), STOCK_BODY, {}),
    "a task that is a number": (stock_task(7), STOCK_BODY, {}),
    "one of our tasks, well formed": (
        stock_task(), STOCK_BODY, {"content_type": "application/json", "content_encoding": "utf-8"}
    ),
    "celery.backend_cleanup": (stock_task("celery.backend_cleanup"), STOCK_BODY, {"content_type": "application/json"}),
    "celery.chord_unlock": (stock_task("celery.chord_unlock"), STOCK_BODY, {"content_type": "application/json"}),
    "celery.ping": (stock_task("celery.ping"), STOCK_BODY, {"content_type": "application/json"}),
    "a protocol-1 task": (
        {}, b'{"task": "validate_order", "id": "x", "args": [], "kwargs": {}}',
        {"content_type": "application/json", "content_encoding": "utf-8"},
    ),
    "a time limit that is a number": (stock_task(timelimit=7), STOCK_BODY, {}),
    "a time limit of texts": (stock_task(timelimit=["soon", "later"]), STOCK_BODY, {}),
    "an eta that is no time": (stock_task(eta="tomorrow", expires={"at": 1}), STOCK_BODY, {}),
    "compression of what is not compressed": ({"compression": "zlib"}, STOCK_BODY, {}),
    "compression that nobody knows": ({"compression": "crush"}, STOCK_BODY, {}),
    "compression that is a list": ({"compression": ["zlib"]}, STOCK_BODY, {}),
    "a pickle": ({}, b"\x80\x04cos\nsystem\n(S'true'\ntR.", {"content_type": "application/x-python-serialize"}),
    "an unknown charset": ({}, b"{}", {"content_type": "application/json", "content_encoding": "klingon"}),
    "a body that is not UTF-8": ({}, b"\xff\xfe\x00", {"content_type": "application/json"}),
    "headers of every type": (
        {"n": None, "b": True, "i": -1, "l": [1, [2]], "t": {"k": {}}, "d": datetime.now(UTC), "x": b"\xff"},
        b"{}", {},
    ),
    "cloudEvents headers of wrong types": (
        {"cloudEvents:id": 7, "cloudEvents:type": ["order.placed"], "cloudEvents:specversion": {}}, b"{}", {}
    ),
    "a header name that is not UTF-8": ({b"\xff\xfe": 1}, b"{}", {}),
    "a header text that is not UTF-8": ({"cloudEvents:id": raw_text(b"\xff\xfe")}, b"{}", {}),
    "a header text with a lone surrogate": ({"cloudEvents:id": raw_text(b"\xed\xa0\x80")}, b"{}", {}),
    "a timestamp beyond calendars": ({}, b"{}", {"timestamp": 2**62}),
    "reply_to, correlation_id, priority": ({}, b"{}", {"reply_to": "x", "correlation_id": "y", "priority": 255}),
}  # fmt: skip
# The broker passes these on, and neither py-amqp nor pika can read them.
UNREADABLE: dict[str, Raw] = {
    "a time beyond calendars": raw_time(2**62),
    "a time in the year 10000": raw_time(253_402_300_800),
}
# Refused by the worker's main process: an event with one attribute changed.
HALF_VALID: dict[str, dict[str, Any]] = {
    **{f"no {name}": {name: None} for name in ("specversion", "id", "type", "source", "subject", "time")},
    "another specversion": {"specversion": "0.3"},
    "an id that is no UUID": {"id": "42"},
    "an id that is no UUIDv7": {"id": str(uuid4())},
    "an id from the future": {"id": future_id()},
    "an unknown type": {"type": "order.teleported"},
    "a type that is no name": {"type": "#"},
    "a type that the step does not listen to": {"type": "order.synced"},
    "a time without an offset": {"time": "2026-01-01T00:00:00"},
    "another version of the schema": {"dataschema": "urn:waybill:order.placed:99"},
    "generation 0": {"generation": 0},
    "generation -1": {"generation": -1},
    "generation as a text": {"generation": "2"},
    "a huge generation": {"generation": 2**40},
    "a subject of 300 characters": {"subject": "x" * 300},
    "a subject that is bytes": {"subject": b"\xff\x00"},
}
# Refused by the child, in `deliver`: the task raises, and the message is rejected.
WRONG_DATA: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"{",
    "not an object": b"[]",
    "a null": b"null",
    "deep beyond recursion": b"[" * 100_000,
    "without its fields": b'{"order_id": "0190"}',
    "an order id that is no UUID": b'{"order_id": "x", "number": "", "reference": "", "currency": "", "net_total": ""}',
    "an order id that is a list": b'{"order_id": [], "number": "", "reference": "", "currency": "", "net_total": ""}',
}
