"""The leader makes segments ahead before it needs the broker, and drops them behind while it carries."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from outbox.envelope import lowest_id
from outbox.segments import SEGMENT_EVENTS, SEGMENTS_AHEAD
from tests.support.builders.events import new_event
from tests.support.probes.relay_harness import RelayHarness, ids
from tests.support.processes.relay import relay

FIRST = "SELECT to_regclass('outbox.events_000000') IS NULL"
MONTHS = "SELECT inhrelid::regclass AS month FROM pg_inherits WHERE inhparent = 'outbox.deliveries'::regclass"
FIRST_MONTH = "CREATE TABLE outbox.deliveries_2020_01 PARTITION OF outbox.deliveries FOR"
END = (SEGMENTS_AHEAD + 1) * SEGMENT_EVENTS


def test_an_outbox_without_segments_is_given_some_although_the_broker_is_away(
    database_url: str, tmp_path: Path
) -> None:
    harness = RelayHarness(database_url, "amqp://guest:guest@127.0.0.1:1/")
    harness.value("SELECT setval('outbox.event_ids', $1)", END)
    with relay(database_url, harness.amqp_url, tmp_path) as process:
        reported = process.wait_for("segments_running_out")
        assert (reported["table"], reported["left"], reported["level"]) == ("events", 0, "error")
        process.wait_for("partitions_made")
        harness.record([new_event()])


def test_what_is_spent_is_dropped_and_the_stream_goes_on(
    database_url: str, clean_broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTBOX_RETENTION_DAYS", "0.0000001")
    harness = RelayHarness(database_url, clean_broker)
    harness.declare()
    harness.purge()
    before = [new_event(), new_event()]
    harness.record(before[:1])
    harness.value("SELECT setval('outbox.event_ids', $1)", SEGMENT_EVENTS + 5)
    harness.record(before[1:])
    with relay(database_url, clean_broker, tmp_path) as process:
        harness.wait_for_cursor(2)
        assert process.stop() == 0
    # It checks the segments when its term begins, and a minute later.
    with relay(database_url, clean_broker, tmp_path) as process:
        assert process.wait_for("segment_dropped")["segment"] == "events_000000"
        harness.wait_until(FIRST)
        after = new_event()
        harness.record([after])
        harness.wait_for_cursor(3)
    assert ids(harness.take("audit")) == [str(event.id) for event in (*before, after)]


def test_months_of_the_inbox_past_retention_are_dropped_one_after_the_other(
    database_url: str, clean_broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTBOX_RETENTION_DAYS", "0.0000001")
    monkeypatch.setenv("INBOX_RETENTION_DAYS", "0.0000002")
    harness = RelayHarness(database_url, clean_broker)
    harness.declare()
    for row in harness.rows(MONTHS):
        harness.rows(f"DROP TABLE {row['month']}")
    harness.rows(f"{FIRST_MONTH} VALUES FROM (MINVALUE) TO ('{lowest_id(datetime(2020, 2, 1, tzinfo=UTC))}')")
    with relay(database_url, clean_broker, tmp_path) as process:
        dropped = [process.wait_for("segment_dropped", count)["segment"] for count in (1, 2)]
        assert dropped == ["deliveries_2020_01", "deliveries_2020_02"]
