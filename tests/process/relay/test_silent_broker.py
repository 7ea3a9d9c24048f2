"""A broker that keeps its connections open and answers nothing ends the session in time, and is tried again."""

from pathlib import Path

from lab.tcp_proxy.proxy import proxied
from tests.support.builders.events import new_event
from tests.support.builders.steady_writer import writing
from tests.support.probes.relay_harness import RelayHarness, assert_all_there_in_order
from tests.support.probes.waking_clock import waking_clock
from tests.support.processes.program import RunningProgram
from tests.support.processes.relay import relay

IMPATIENT = "?socket_timeout=2&stack_timeout=2"
STOPPED_WAITING_SECONDS = 9  # sooner than it would be without what its URL says


def assert_session_ended(process: RunningProgram) -> None:
    """The session ends because of the broker, which had as long as its URL says."""
    assert "PublisherLostError: no answer within 2.0 s" in str(process.wait_for("session_ended")["error"])


def test_brokers_that_never_answer_or_fall_silent_in_mid_flow_end_the_session_and_are_tried_again(
    harness: RelayHarness, database_url: str, tmp_path: Path
) -> None:
    """Two relays side by side, because each waits for nothing most of the time."""
    never = RelayHarness(database_url, harness.amqp_url)
    never.declare()
    unsent = [new_event(f"never-{n % 10}") for n in range(100)]
    never.record(unsent)
    with (
        proxied(harness.amqp_url) as (through, proxy),
        proxied(harness.amqp_url) as (through_nothing, deaf),
        relay(harness.database_url, through + IMPATIENT, tmp_path, page_size=20, window=60) as mid_flow,
    ):
        deaf.fall_silent()
        with relay(never.database_url, through_nothing + IMPATIENT, tmp_path) as at_start:
            at_start.wait_for("leading")
            mid_flow.wait_for("leading")
            with writing(harness.database_url, "flow") as (writer,):
                harness.wait_for_cursor(100)
                proxy.fall_silent()
                with waking_clock() as clock:
                    assert_session_ended(at_start)
                    assert never.confirmed() == 0
                    deaf.release_answers()
                    assert_session_ended(mid_flow)
                assert clock.seconds < STOPPED_WAITING_SECONDS
                proxy.release_answers()
                writer.wait_for(50)
                flow = writer.stop()
            never.wait_for_cursor(len(unsent))
            harness.wait_for_cursor(len(flow))
    assert_all_there_in_order(flow + unsent, harness.take("validation"))
