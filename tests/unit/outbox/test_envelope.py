"""The envelope: an event comes back as it was encoded, and nothing else is decoded."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.envelope import (
    MAX_DATA_BYTES,
    MAX_GENERATION,
    PREFIX,
    EnvelopeError,
    Event,
    decode,
    encode_headers,
    id_time,
    new_event_id,
)
from tests.support.builders.events import new_event

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=255)
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
EVENTS = st.builds(
    Event,
    id=st.builds(new_event_id),
    type=st.from_regex(r"[a-z][a-z0-9_.]{0,99}", fullmatch=True),
    subject=TEXT,
    source=TEXT,
    time=st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=OFFSETS),  # noqa: DTZ001 - bounds are naive
    data=st.binary(max_size=2000),
    dataschema=st.none() | TEXT,
    traceparent=st.none() | TEXT,
    generation=st.integers(1, MAX_GENERATION),
)


def uuid7_of(moment: datetime) -> str:
    milliseconds = int(moment.timestamp() * 1000)
    return str(UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62)))


def decode_with(name: str, value: object) -> Event:
    return decode({**encode_headers(new_event(traceparent="00-a-b-01")), PREFIX + name: value}, b"{}")


@given(EVENTS)
def test_an_event_comes_back_as_it_went_out(event: Event) -> None:
    assert decode(encode_headers(event), event.data) == event


@given(EVENTS, st.dictionaries(st.text(max_size=20).filter(lambda name: not name.startswith(PREFIX)), st.integers()))
def test_only_the_events_own_headers_are_read(event: Event, others: dict[str, int]) -> None:
    assert decode({**others, **encode_headers(event)}, event.data) == event


def test_optional_attributes_and_a_first_generation_send_no_header() -> None:
    headers = encode_headers(new_event(dataschema=None, traceparent=None, generation=1))
    assert set(headers) == {PREFIX + name for name in ("specversion", "id", "type", "source", "subject", "time")}


def test_the_time_travels_in_utc() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert encode_headers(new_event(time=noon))[PREFIX + "time"] == "2026-03-01T06:30:00+00:00"


@pytest.mark.parametrize("name", ["specversion", "id", "type", "source", "subject", "time"])
def test_a_missing_required_attribute_is_refused_by_its_name(name: str) -> None:
    headers = encode_headers(new_event())
    del headers[PREFIX + name]
    with pytest.raises(EnvelopeError, match=f"^{name} None "):
        decode(headers, b"{}")


@pytest.mark.parametrize(
    "name", ["specversion", "id", "type", "source", "subject", "time", "dataschema", "traceparent"]
)
@pytest.mark.parametrize(
    "value", ["", "x" * 256, "a\x00b", 7, None, True, b"bytes", ["list"], {"a": "table"}, 1.5], ids=repr
)
def test_an_attribute_that_is_no_text_of_1_to_255_characters_is_refused_with_its_value(
    name: str, value: object
) -> None:
    with pytest.raises(EnvelopeError) as refusal:
        decode_with(name, value)
    assert str(refusal.value).startswith(f"{name} {value!r}"[:200])


@pytest.mark.parametrize(
    ("name", "value", "reported"),
    [
        ("specversion", "0.3", "specversion '0.3' is not '1.0'"),
        ("subject", "x\ud800", "subject 'x\\ud800' has a lone surrogate"),
        ("id", "not-a-uuid", "id 'not-a-uuid' is not a UUID"),
        ("type", "Order.Placed", "type 'Order.Placed' is not a dotted lower-case name"),
        ("type", "order placed", "type 'order placed' is not"),
        ("type", "order.placed\n", "type 'order.placed\\n' is not"),
        ("type", ".placed", "type '.placed' is not"),
        ("type", "order.#", "type 'order.#' is not"),
        ("type", "a" * 101, f"type '{'a' * 101}' is not"),
        ("time", "yesterday", "time 'yesterday' is not an RFC 3339 time"),
        ("time", "2026-02-30T00:00:00Z", "time '2026-02-30T00:00:00Z' is not"),
        ("time", "2026-03-01T12:30:00", "time '2026-03-01T12:30:00' has no offset from UTC"),
    ],
)
def test_a_malformed_attribute_is_refused_with_its_name_and_value(name: str, value: str, reported: str) -> None:
    with pytest.raises(EnvelopeError) as refusal:
        decode_with(name, value)
    assert str(refusal.value).startswith(reported)


@pytest.mark.parametrize("value", [0, -1, MAX_GENERATION + 1, "2", 2.0, None, True, False, [1]], ids=repr)
def test_a_generation_that_is_no_whole_number_in_range_is_refused_with_its_value(value: object) -> None:
    with pytest.raises(EnvelopeError) as refusal:
        decode_with("generation", value)
    assert str(refusal.value) == f"generation {value!r} is not a whole number from 1 to {MAX_GENERATION}"


@pytest.mark.parametrize("value", [1, 2, MAX_GENERATION])
def test_a_generation_in_range_is_taken(value: int) -> None:
    assert decode_with("generation", value).generation == value


def test_an_id_that_is_no_uuidv7_is_refused() -> None:
    stranger = str(uuid4())
    with pytest.raises(EnvelopeError, match=f"^id '{stranger}' is not a UUIDv7$"):
        decode_with("id", stranger)


def test_an_id_from_the_future_is_refused_and_a_skewed_clock_is_tolerated() -> None:
    now = datetime.now(UTC)
    tomorrow = uuid7_of(now + timedelta(hours=23))
    assert str(decode_with("id", tomorrow).id) == tomorrow
    later = uuid7_of(now + timedelta(hours=25))
    with pytest.raises(EnvelopeError, match=f"^id '{later}' is from the future: 20"):
        decode_with("id", later)


def test_an_id_beyond_every_calendar_is_refused() -> None:
    beyond = "ffffffff-ffff-7fff-bfff-ffffffffffff"
    with pytest.raises(EnvelopeError, match=f"^id '{beyond}' is of a time that no calendar has$"):
        decode_with("id", beyond)


def test_data_over_the_limit_is_refused_with_its_size() -> None:
    headers = encode_headers(new_event())
    assert len(decode(headers, b"x" * MAX_DATA_BYTES).data) == MAX_DATA_BYTES
    with pytest.raises(EnvelopeError, match=f"^data of {MAX_DATA_BYTES + 1} bytes is over the limit"):
        decode(headers, b"x" * (MAX_DATA_BYTES + 1))


@given(
    st.dictionaries(
        st.sampled_from([PREFIX + name for name in (*"abc", "id", "type", "subject", "source", "time", "generation")]),
        st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.lists(st.integers()),
    ),
    st.binary(max_size=100),
)
def test_any_input_is_an_event_or_an_envelope_error(headers: dict[str, object], body: bytes) -> None:
    with pytest.raises(EnvelopeError):
        decode({PREFIX + "specversion": "1.0", **headers}, body)


def test_new_ids_are_uuidv7_in_the_order_they_were_made() -> None:
    ids = [new_event_id() for _ in range(2000)]
    assert {event_id.version for event_id in ids} == {7}
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_an_ids_time_is_the_moment_it_was_made() -> None:
    before = datetime.now(UTC)
    made = id_time(new_event_id())
    assert before - timedelta(milliseconds=1) <= made <= datetime.now(UTC) + timedelta(milliseconds=1)
