"""What the monitor of a running relay measures."""

import asyncio
from pathlib import Path

from lab.stack.ports import free_port
from outbox.segments import PAGE_SEGMENTS_AHEAD, SEGMENTS_AHEAD
from tests.support.deadlines import wait_until
from tests.support.probes.database import connected
from tests.support.probes.metrics_page import metric
from tests.support.probes.relay_harness import RelayHarness, numbered
from tests.support.processes.program import RunningProgram
from tests.support.processes.relay import relay

OLDEST = "waybill_outbox_oldest_unpublished_age_seconds"
BACKLOG = "waybill_outbox_backlog_events"
OLDEST_TRANSACTION = "waybill_outbox_oldest_transaction_age_seconds"


def test_the_oldest_unpublished_event_ages_while_a_queue_is_missing_and_the_writer_that_holds_back_is_named(
    harness: RelayHarness, tmp_path: Path
) -> None:
    port = free_port()
    harness.delete_queue("sap")

    def check(process: RunningProgram, writers_pid: int) -> None:
        process.wait_for("required_queues_missing")
        harness.record(numbered(30, subjects=30))
        wait_until(lambda: metric(port, BACKLOG) == 30)
        first = metric(port, OLDEST)
        reported = process.wait_for("transaction_holds_back")
        assert reported["pid"] == writers_pid
        assert reported["application_name"] == "slow-writer"
        assert "pg_current_xact_id" in reported["query"]
        assert "type = '…'" in reported["query"]
        assert reported["age_seconds"] >= 5
        wait_until(lambda: metric(port, OLDEST) > first + 1)
        assert metric(port, OLDEST_TRANSACTION) >= 5
        assert metric(port, "waybill_relay_publishing_held") == 1
        assert harness.confirmed() == 0

    def check_afterwards(process: RunningProgram) -> None:
        harness.declare()
        harness.wait_for_cursor(30)
        wait_until(lambda: metric(port, OLDEST) == 0 and metric(port, BACKLOG) == 0)
        wait_until(lambda: metric(port, OLDEST_TRANSACTION) == 0)
        assert len(process.logged("transaction_holds_back")) == 1
        for table, wanted in (("events", SEGMENTS_AHEAD), ("pages", PAGE_SEGMENTS_AHEAD)):
            assert metric(port, "waybill_outbox_segments_left", table=table) >= wanted - 1
            assert metric(port, "waybill_outbox_segments_wanted", table=table) == wanted

    async def stuck() -> None:
        async with connected(harness.database_url) as (writer,):
            await writer.execute("SET application_name = 'slow-writer'")
            transaction = writer.transaction()
            await transaction.start()  # it grows old while the relay starts
            await writer.execute("DELETE FROM outbox.dead_letters WHERE type = 'Jane Doe'; SELECT pg_current_xact_id()")
            with relay(harness.database_url, harness.amqp_url, tmp_path, http_port=port) as process:
                await asyncio.to_thread(check, process, writer.get_server_pid())
                await transaction.rollback()
                await asyncio.to_thread(check_afterwards, process)

    asyncio.run(stuck())
