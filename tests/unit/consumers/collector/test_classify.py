"""Every dead message becomes a dead letter that Postgres can keep; its cause is the first that is known."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.collector.classify import bare, dead_letter_of, inspect
from consumers.collector.queues import SOURCES, Taken
from orders.events import OrderPlaced
from orders.service import envelope
from outbox.dead_letter_reason import DeadLetterReason
from outbox.dead_letters.store import Cause
from outbox.envelope import Event, encode_headers, new_event_id
from tests.support.builders.amqp_values import KEYS, VALUES
from tests.support.builders.orders import sample_order

CAUSE = Cause("retries_exhausted", "SapError", "no answer", "Traceback", "SapError@sap:create")


def placed() -> Event:
    order = sample_order()
    return envelope(OrderPlaced(new_event_id(), "WB-1", order.reference, "USD", order.net_total), "urn:test")


def taken(event: Event, headers: Mapping[str, object] | None = None) -> Taken:
    return Taken("validation", 1, event.data, {**encode_headers(event), **(headers or {})}, {"priority": 1}, b"raw")


ODD_HEADERS = st.dictionaries(
    KEYS | st.sampled_from(["x-death", "x-first-death-reason", *encode_headers(placed())]), VALUES, max_size=6
)
DEATHS = st.lists(
    st.dictionaries(st.sampled_from(["reason", "time", "queue", "count"]), VALUES, max_size=4), max_size=3
)


@given(
    headers=ODD_HEADERS,
    deaths=DEATHS,
    sound=st.booleans(),
    body=st.binary(max_size=50),
    queue=st.sampled_from(sorted(SOURCES)),
)
def test_any_message_becomes_a_dead_letter(
    headers: dict[Any, Any], deaths: list[Any], sound: bool, body: bytes, queue: str
) -> None:
    event = placed()
    given_headers = {**(encode_headers(event) if sound else {}), "x-death": deaths, **headers}
    message = Taken(queue, 1, body, given_headers, {}, b"raw")
    dead_letter = dead_letter_of(inspect(message), None, None)
    assert dead_letter.reason in set(DeadLetterReason)
    assert dead_letter.body == body
    assert str(event.id) not in dead_letter.fingerprint
    written = json.dumps([dead_letter.headers, dead_letter.properties], allow_nan=False, ensure_ascii=False)
    for text in (written, dead_letter.key, dead_letter.fingerprint, dead_letter.subject or "", dead_letter.error or ""):
        assert "\x00" not in text
        text.encode()


@pytest.mark.parametrize("death", [None, "x", 7, [], [1], ["rejected"], [{}], [{"reason": ["rejected"]}], {"a": 1}])
def test_a_forged_account_of_its_death_is_no_account(death: object) -> None:
    dead_letter = dead_letter_of(
        inspect(taken(placed(), {"x-death": death, "x-first-death-reason": death})), CAUSE, None
    )
    assert (dead_letter.reason, dead_letter.fingerprint, dead_letter.died_at) == (
        "retries_exhausted",
        "SapError@sap:create",
        None,
    )


def test_of_several_deaths_the_one_in_its_queue_counts() -> None:
    moment = datetime(2026, 3, 1, 12, 30)  # noqa: DTZ001 - as py-amqp reads it
    deaths = [
        {"queue": "elsewhere", "reason": "expired", "time": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"queue": "validation", "reason": "delivery_limit", "time": moment},
    ]
    dead_letter = dead_letter_of(inspect(taken(placed(), {"x-death": deaths})), None, None)
    assert (dead_letter.reason, dead_letter.died_at) == ("delivery_limit", moment.replace(tzinfo=UTC))


def test_the_inbox_is_believed_before_our_own_reading_of_the_data_and_of_the_calendar() -> None:
    event = replace(placed(), data=b"{")
    later = UUID(int=event.id.int + 1)
    assert dead_letter_of(inspect(taken(event)), CAUSE, later).reason == "retries_exhausted"
    assert dead_letter_of(inspect(taken(event)), None, later).reason == "undecodable"
    assert dead_letter_of(inspect(taken(placed())), None, UUID(int=2**128 - 1)).reason == "expired"
    assert dead_letter_of(inspect(taken(placed())), None, None).reason == "rejected"


def test_a_cause_without_a_reason_or_a_place_is_a_rejection_by_its_error() -> None:
    dead_letter = dead_letter_of(inspect(taken(placed())), replace(CAUSE, reason=None, fingerprint=None), None)
    assert (dead_letter.reason, dead_letter.fingerprint) == ("rejected", "SapError@validation")


def test_a_bare_dead_letter_has_the_messages_own_bytes() -> None:
    message = taken(placed())
    dead_letter = bare(dead_letter_of(inspect(message), CAUSE, None), message)
    assert (dead_letter.body, dead_letter.headers, dead_letter.event_id) == (message.body, {"$raw": "cmF3"}, None)


def properties_of(headers: bytes, content_type: bytes = b"") -> bytes:
    """The bytes of a message's properties: headers, perhaps a content type, and a delivery mode."""
    kind = bytes([len(content_type)]) + content_type if content_type else b""
    flags = (0x8000 if content_type else 0) | 0x2000 | 0x1000
    return flags.to_bytes(2) + kind + len(headers).to_bytes(4) + headers + b"\x02"


@pytest.mark.parametrize("content_type", [b"", b"text/plain"])
@pytest.mark.parametrize("count", [b"l" + (7).to_bytes(8), b"I" + (7).to_bytes(4), b"s\x00\n", b"b\x07"])
def test_a_message_with_headers_as_bytes_stays_itself_however_often_it_is_delivered(
    content_type: bytes, count: bytes
) -> None:
    odd = b"\x04when" + b"T" + (2**62).to_bytes(8)
    first = Taken("sap", 1, b"x", {}, {}, properties_of(odd, content_type))
    again = replace(first, raw_properties=properties_of(odd + b"\x10x-delivery-count" + count, content_type))
    another = replace(first, raw_properties=properties_of(odd + b"\x01ab\x01", content_type))
    keys = [dead_letter_of(inspect(message), None, None).key for message in (first, again, another)]
    assert keys[0] == keys[1] != keys[2]
