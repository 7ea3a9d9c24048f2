"""Whatever a dead message holds, it becomes a letter that Postgres can keep; its cause is the first that is known."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.collector.classify import bare, examine, letter_of
from consumers.collector.queues import SOURCES, Taken
from orders.events import OrderPlaced
from orders.service import envelope
from outbox.dead_letters.store import Cause
from outbox.envelope import Event, encode_headers, new_event_id
from outbox.tables import LETTER_REASONS
from tests.support.builders.orders import sample_order
from tests.unit.outbox.dead_letters.test_amqp_json import KEYS, VALUES

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
def test_any_message_becomes_a_letter(
    headers: dict[Any, Any], deaths: list[Any], sound: bool, body: bytes, queue: str
) -> None:
    event = placed()
    given_headers = {**(encode_headers(event) if sound else {}), "x-death": deaths, **headers}
    message = Taken(queue, 1, body, given_headers, {}, b"raw")
    letter = letter_of(examine(message), None, None)
    assert letter.reason in LETTER_REASONS
    assert letter.body == body
    assert str(event.id) not in letter.fingerprint
    written = json.dumps([letter.headers, letter.properties], allow_nan=False, ensure_ascii=False)
    for text in (written, letter.key, letter.fingerprint, letter.subject or "", letter.error or ""):
        assert "\x00" not in text
        text.encode()


@pytest.mark.parametrize("death", [None, "x", 7, [], [1], ["rejected"], [{}], [{"reason": ["rejected"]}], {"a": 1}])
def test_a_forged_account_of_its_death_is_no_account(death: object) -> None:
    letter = letter_of(examine(taken(placed(), {"x-death": death, "x-first-death-reason": death})), CAUSE, None)
    assert (letter.reason, letter.fingerprint, letter.died_at) == ("retries_exhausted", "SapError@sap:create", None)


def test_of_several_deaths_the_one_in_its_queue_counts() -> None:
    moment = datetime(2026, 3, 1, 12, 30)  # noqa: DTZ001 - as py-amqp reads it
    deaths = [
        {"queue": "elsewhere", "reason": "expired", "time": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"queue": "validation", "reason": "delivery_limit", "time": moment},
    ]
    letter = letter_of(examine(taken(placed(), {"x-death": deaths})), None, None)
    assert (letter.reason, letter.died_at) == ("delivery_limit", moment.replace(tzinfo=UTC))


def test_the_inbox_is_believed_before_our_own_reading_of_the_data_and_of_the_calendar() -> None:
    event = replace(placed(), data=b"{")
    later = UUID(int=event.id.int + 1)
    assert letter_of(examine(taken(event)), CAUSE, later).reason == "retries_exhausted"
    assert letter_of(examine(taken(event)), None, later).reason == "undecodable"
    assert letter_of(examine(taken(placed())), None, UUID(int=2**128 - 1)).reason == "expired"
    assert letter_of(examine(taken(placed())), None, None).reason == "rejected"


def test_a_cause_without_a_reason_or_a_place_is_a_rejection_by_its_error() -> None:
    letter = letter_of(examine(taken(placed())), replace(CAUSE, reason=None, fingerprint=None), None)
    assert (letter.reason, letter.fingerprint) == ("rejected", "SapError@validation")


def test_a_bare_letter_has_the_messages_own_bytes() -> None:
    message = taken(placed())
    letter = bare(letter_of(examine(message), CAUSE, None), message)
    assert (letter.body, letter.headers, letter.event_id) == (message.body, {"$raw": "cmF3"}, None)


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
    keys = [letter_of(examine(message), None, None).key for message in (first, again, another)]
    assert keys[0] == keys[1] != keys[2]
