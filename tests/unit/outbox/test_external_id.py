"""An event of another service has the same inbox id at every delivery, in the partition of its own time."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.envelope import EnvelopeError, id_time, new_event_id
from outbox.external_id import inbox_id

TIME = "2026-03-01T12:00:00.123Z"
TIMES = st.integers(0, 253_370_764_800_000).map(lambda ms: datetime.fromtimestamp(ms / 1000, UTC))
TEXTS = st.text(min_size=1, max_size=100, alphabet=st.characters(exclude_categories=["Cs"]))


@given(TEXTS, TEXTS, TIMES)
def test_any_id_becomes_a_uuid7_of_the_events_own_time(source: str, identifier: str, time: datetime) -> None:
    own = inbox_id(source, identifier, time.isoformat())
    assert (own.version, own.variant) == (7, "specified in RFC 4122")
    assert abs((id_time(own) - time).total_seconds()) < 0.002
    assert inbox_id(source, identifier, time.isoformat()) == own == inbox_id(source, str(own), time.isoformat())


def test_two_events_differ_by_their_source_or_by_their_id() -> None:
    assert len({inbox_id("/a", "1", TIME), inbox_id("/a", "2", TIME), inbox_id("/b", "1", TIME)}) == 3
    assert inbox_id("/a", "1", TIME) == inbox_id("/a", "1", "2026-03-01T13:00:00.123+01:00")


def test_a_uuid7_stays_as_it_is_and_another_uuid_does_not() -> None:
    own = new_event_id()
    assert inbox_id("/a", str(own), TIME) == own
    assert inbox_id("/a", "6f1c1b52-6a4e-4f1e-9c55-3d1f8d3f2a10", TIME).version == 7


@pytest.mark.parametrize("time", ["", "noon", "2026-03-01T12:00:00", "1969-12-31T23:00:00Z"])
def test_an_event_without_a_usable_time_is_refused(time: str) -> None:
    with pytest.raises(EnvelopeError, match="time"):
        inbox_id("/a", "1", time)
