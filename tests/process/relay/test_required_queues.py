"""The relay knows which queues must exist: it publishes nothing while one of them does not."""

from pathlib import Path

from lab.stack.ports import free_port
from tests.support.builders.steady_writer import writing
from tests.support.probes.metrics_page import metric
from tests.support.probes.relay_harness import RelayHarness, assert_all_there_in_order, ids, numbered
from tests.support.processes.relay import relay


def test_a_queue_deleted_while_the_relay_runs_stops_publishing_until_it_is_back(
    harness: RelayHarness, tmp_path: Path
) -> None:
    before, after = numbered(20, subjects=5), numbered(40, subjects=5)
    port = free_port()
    with relay(harness.database_url, harness.amqp_url, tmp_path, http_port=port) as process:
        harness.record(before)
        harness.wait_for_cursor(20)
        assert ids(harness.take("audit")) != []
        harness.delete_queue("audit")
        assert process.wait_for("required_queues_missing")["queues"] == ["audit"]
        harness.record(after)
        # Two more checks of the queues later the relay has long seen the events.
        process.wait_for("required_queues_missing", len(process.logged("required_queues_missing")) + 2)
        assert metric(port, "waybill_relay_missing_destinations") == 1
        assert harness.confirmed() == 20
        assert len(harness.take("validation")) == 20
        harness.declare()
        harness.wait_for_cursor(60)
        assert metric(port, "waybill_relay_missing_destinations") == 0
    assert process.logged("session_ended") == []
    assert_all_there_in_order(before + after, harness.take("validation"))
    assert_all_there_in_order(before + after, harness.take("audit"))


def test_what_the_cursor_had_not_passed_when_a_queue_was_deleted_comes_to_it_when_it_is_back(
    harness: RelayHarness, tmp_path: Path
) -> None:
    with relay(harness.database_url, harness.amqp_url, tmp_path) as process:
        with writing(harness.database_url, "stream") as (writer,):
            harness.wait_for_cursor(10)
            harness.delete_queue("audit")
            # The second look that misses it: by then a write of the cursor that the look before let begin has landed.
            process.wait_for("required_queues_missing", 2)
            passed = harness.confirmed()  # their copies were in the queue
            writer.wait_for(20)
            assert harness.confirmed() == passed
            harness.declare()
            process.wait_for("required_queues_back")
            events = [str(event.id) for event in writer.stop()]
        harness.wait_for_cursor(len(events))
    assert set(events[passed:]) <= set(ids(harness.take("audit")))
    assert set(events) == set(ids(harness.take("validation")))
