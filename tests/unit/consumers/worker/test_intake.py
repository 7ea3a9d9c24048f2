"""A message becomes a task of its queue, or is refused; nothing that a stranger wrote into it survives."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from consumers.worker.cloud_event_task import adapt, task_id
from consumers.worker.intake import EventConsumer
from orders.events import OrderPlaced
from orders.service import envelope
from orders.workflow import BY_QUEUE
from outbox.envelope import MAX_DATA_BYTES, EnvelopeError, Event, encode_headers, new_event_id
from tests.support.builders.orders import sample_order


def _placed() -> Event:
    order = sample_order()
    return envelope(OrderPlaced(new_event_id(), "WB-1", order.reference, "USD", order.net_total), "urn:test")


def _message(event: Event, *, body: Any = None, **headers: object) -> Any:
    """A message as kombu hands it to a worker, with the attributes that `adapt` reads."""
    return SimpleNamespace(
        headers={**encode_headers(event), **headers},
        body=event.data if body is None else body,
        properties={"reply_to": "somewhere", "correlation_id": "x", "priority": 9},
        content_type="application/x-python-serialize",
        content_encoding="klingon",
        delivery_info={"routing_key": event.type},
        _decoded_cache={"stale": True},
    )


def test_an_event_becomes_the_task_of_the_queue_it_came_from() -> None:
    event = _placed()
    for queue in ("validation", "audit"):
        message = _message(event)
        adapt(message, queue)
        assert message.headers["task"] == BY_QUEUE[queue].name
        assert message.headers["id"] == task_id(queue, event)
        (attributes, text, redelivered), keywords, _ = json.loads(message.body)
        assert (attributes, text.encode(), redelivered, keywords) == (encode_headers(event), event.data, False, {})
        assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
        assert (message.properties, message._decoded_cache) == ({}, None)


def test_nothing_of_a_strangers_headers_is_left() -> None:
    hostile: dict[str, Any] = {
        "task": {"un": ["hashable"]},
        "id": 7,
        "timelimit": 7,
        "eta": "yesterday",
        "expires": "1999-01-01",
        "retries": "many",
        "callbacks": ["celery.backend_cleanup"],
        "x-delivery-count": 19,
    }
    clean, soiled = _message(_placed()), _message(_placed(), **hostile)
    adapt(clean, "validation")
    adapt(soiled, "validation")
    assert soiled.headers.keys() == clean.headers.keys()
    assert soiled.headers["timelimit"] == [None, None]
    assert soiled.headers["task"] == "validate_order"
    assert "callbacks" not in json.loads(soiled.body)[0][0]


def test_each_consumer_and_each_generation_is_a_task_of_its_own_and_a_redelivery_is_not() -> None:
    event = _placed()
    ids = {task_id(queue, replace(event, generation=generation)) for queue in BY_QUEUE for generation in (1, 2)}
    assert len(ids) == 2 * len(BY_QUEUE)
    assert task_id("audit", event) == task_id("audit", replace(event))
    assert all(UUID(one).version == 5 for one in ids)


def _future_id() -> str:
    future = int((datetime.now(UTC) + timedelta(days=2)).timestamp() * 1000)
    return str(UUID(int=(new_event_id().int & (2**80 - 1)) | future << 80))


@pytest.mark.parametrize(
    ("attribute", "value", "reported"),
    [
        ("specversion", "2.0", "is not '1.0'"),
        pytest.param("id", str(uuid4()), "is not a UUIDv7", id="a version 4 id"),
        ("id", "7", "is not a UUID"),
        pytest.param("id", _future_id(), "is from the future", id="an id from the future"),
        ("type", "order.synced", "validate_order does not listen to 'order.synced'"),
        ("type", "order.teleported", "does not listen"),
        ("type", "Order Placed", "is not a dotted lower-case name"),
        ("subject", "", "is not a text of 1 to 255 characters"),
        ("subject", "x" * 256, "is not a text of 1 to 255 characters"),
        ("subject", b"bytes", "is not a text of 1 to 255 characters"),
        ("time", "noon", "is not an RFC 3339 time"),
        ("time", "2026-01-01T00:00:00", "has no offset"),
        ("dataschema", ["urn"], "is not a text"),
        ("dataschema", "urn:waybill:order.placed:2", "is not 'urn:waybill:order.placed:1'"),
        ("generation", 0, "is not a whole number from 1"),
        ("generation", -1, "is not a whole number from 1"),
        ("generation", "2", "is not a whole number from 1"),
        ("generation", True, "is not a whole number from 1"),
        ("generation", 2**40, "is not a whole number from 1"),
    ],
)
def test_a_wrong_attribute_is_refused_with_its_name_and_value(attribute: str, value: object, reported: str) -> None:
    message = _message(_placed(), **{f"cloudEvents:{attribute}": value})
    with pytest.raises(EnvelopeError, match=reported.replace("(", r"\(")):
        adapt(message, "validation")


@pytest.mark.parametrize("attribute", ["specversion", "id", "type", "subject", "source", "time"])
def test_a_missing_attribute_is_refused(attribute: str) -> None:
    message = _message(_placed())
    del message.headers[f"cloudEvents:{attribute}"]
    with pytest.raises(EnvelopeError, match=attribute):
        adapt(message, "validation")


def test_a_schema_need_not_be_named() -> None:
    message = _message(_placed())
    del message.headers["cloudEvents:dataschema"]
    adapt(message, "validation")
    assert message.headers["task"] == "validate_order"


@pytest.mark.parametrize("headers", [None, [], "headers", {7: "seven"}, {}])
def test_headers_that_are_no_headers_are_refused(headers: object) -> None:
    message = _message(_placed())
    message.headers = headers
    with pytest.raises(EnvelopeError, match="specversion"):
        adapt(message, "validation")


def test_header_names_that_are_no_text_are_left_out() -> None:
    message = _message(_placed())
    message.headers = {**message.headers, b"\xff": 1, 7: 2}
    adapt(message, "validation")
    assert json.loads(message.body)[0][0].keys() == encode_headers(_placed()).keys()


@pytest.mark.parametrize(
    ("body", "reported"), [(b"\xff\xfe", "not UTF-8"), (b"x" * (MAX_DATA_BYTES + 1), "over the limit")]
)
def test_a_body_that_is_no_text_or_too_long_is_refused(body: bytes, reported: str) -> None:
    message = _message(_placed(), body=body)
    with pytest.raises(EnvelopeError, match=reported):
        adapt(message, "validation")


def test_a_worker_takes_no_part_in_gossip_mingle_and_delayed_delivery() -> None:
    steps = {str(step) for step in EventConsumer.Blueprint.default_steps}
    assert not [step for step in steps if any(word in step.lower() for word in ("mingle", "gossip", "delayed"))]
    assert any("tasks:Tasks" in step for step in steps)


def test_a_delivery_that_came_back_to_its_queue_is_known_as_such() -> None:
    by_the_flag, by_the_count = _message(_placed()), _message(_placed(), **{"x-delivery-count": 1})
    by_the_flag.delivery_info["redelivered"] = True
    for message in (by_the_flag, by_the_count):
        adapt(message, "validation")
        (_, _, redelivered), _, _ = json.loads(message.body)
        assert redelivered is True
