"""The health endpoint of a running relay: leading, standing by, waiting, stopped."""

import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from lab.stack.ports import free_port
from lab.tcp_proxy.proxy import proxied
from tests.support.builders.events import new_event
from tests.support.probes.health_endpoint import asked, waited_for
from tests.support.probes.metrics_page import metric
from tests.support.probes.relay_harness import RelayHarness
from tests.support.processes.relay import relay

NEVER = 3600  # a lease that no test waits out


def test_the_leader_and_the_standby_are_ready_each_in_its_role(harness: RelayHarness, tmp_path: Path) -> None:
    one, other = free_port(), free_port()
    with relay(harness.database_url, harness.amqp_url, tmp_path, http_port=one, lease_seconds=NEVER) as leader:
        leader.wait_for("leading")
        assert waited_for(one, "/readyz", lambda answer: answer[0] == 200) == (200, {"role": "leader", "epoch": 1})
        with relay(harness.database_url, harness.amqp_url, tmp_path, http_port=other, lease_seconds=NEVER) as standby:
            standby.wait_for("standing_by")
            assert asked(other, "/readyz") == (200, {"role": "standby"})
            assert asked(one, "/livez")[0] == asked(other, "/livez")[0] == 200
            assert (metric(one, "waybill_relay_leader"), metric(other, "waybill_relay_leader")) == (1, 0)
            leader.stop()
            assert waited_for(other, "/readyz", lambda answer: answer[1].get("epoch") == 2)[0] == 200
            assert metric(other, "waybill_relay_epoch") == 2


def test_a_relay_that_is_stopped_answers_no_probe(harness: RelayHarness, tmp_path: Path) -> None:
    port = free_port()
    with relay(harness.database_url, harness.amqp_url, tmp_path, http_port=port) as process:
        process.wait_for("leading")
        process.send(signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            asked(port, "/livez", seconds=0.5)
        process.send(signal.SIGCONT)
        waited_for(port, "/livez", lambda answer: answer[0] == 200)


def test_a_relay_reports_what_it_waits_for_and_that_is_no_reason_to_restart_it(
    harness: RelayHarness, tmp_path: Path
) -> None:
    port = free_port()
    harness.delete_queue("sap")
    with (
        proxied(harness.database_url) as (database, to_database),
        proxied(harness.amqp_url) as (broker, to_broker),
        relay(database, broker, tmp_path, http_port=port) as process,
    ):
        process.wait_for("required_queues_missing")
        status, body = waited_for(port, "/readyz", lambda answer: "queue" in answer[1].get("reason", ""))
        assert (status, body["role"]) == (503, "leader")
        harness.declare()
        waited_for(port, "/readyz", lambda answer: answer[0] == 200)

        to_broker.hold_answers()  # the next connection is accepted and never answered
        to_broker.cut()
        assert waited_for(port, "/readyz", lambda answer: "broker" in answer[1].get("reason", ""))[0] == 503
        to_broker.release_answers()
        waited_for(port, "/readyz", lambda answer: answer[0] == 200)

        to_database.hold_answers()
        to_database.cut()
        assert waited_for(port, "/readyz", lambda answer: "database" in answer[1].get("reason", ""))[0] == 503
        assert asked(port, "/livez") == (200, {"status": "alive"})
        to_database.release_answers()
        waited_for(port, "/readyz", lambda answer: answer[0] == 200)
        assert metric(port, "waybill_relay_sessions_ended_total", reason="broker") >= 1
        assert metric(port, "waybill_relay_sessions_ended_total", reason="database") >= 1


def test_every_outcome_is_counted_from_the_start(harness: RelayHarness, tmp_path: Path) -> None:
    port = free_port()
    with relay(harness.database_url, harness.amqp_url, tmp_path, http_port=port) as process:
        process.wait_for("leading")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            page = answer.read().decode()
        for outcome in ("confirmed", "nacked", "returned", "unpublishable"):
            assert f'waybill_relay_settled_total{{outcome="{outcome}"}} 0.0' in page
        harness.record([new_event()])
        harness.wait_for_cursor(1)
        assert metric(port, "waybill_relay_settled_total", outcome="confirmed") == 1
        assert metric(port, "waybill_relay_commit_to_confirm_seconds_count") == 1
        assert asked(port, "/elsewhere")[0] == 404
