"""The findings that the doctor derives from answers of servers."""

import pytest

from ops.doctor.broker import BACKLOG, collector, queue_findings, rabbitmq_version, workers
from ops.doctor.broker_client import QueueState
from ops.doctor.checks import durability
from ops.doctor.finding import Verdict
from orders.workflow import required_queues


@pytest.mark.parametrize(
    ("value", "verdict"), [("on", Verdict.GOOD), ("remote_apply", Verdict.GOOD), ("off", Verdict.BAD)]
)
def test_a_setting_that_loses_commits_is_bad(value: str, verdict: Verdict) -> None:
    assert durability("synchronous_commit", value).verdict is verdict


@pytest.mark.parametrize(
    ("product", "verdict"),
    [("RabbitMQ 3.9.27", Verdict.BAD), ("RabbitMQ 3.10.8", Verdict.GOOD), ("RabbitMQ 4.2.1", Verdict.GOOD)],
)
def test_a_broker_without_safe_dead_lettering_is_bad(product: str, verdict: Verdict) -> None:
    assert rabbitmq_version(product).verdict is verdict


@pytest.mark.parametrize(
    ("queue", "state", "verdict"),
    [
        ("sap", None, Verdict.BAD),
        ("sap", QueueState(3, 0), Verdict.BAD),
        ("sap", QueueState(0, 0), Verdict.WARNING),
        ("sap", QueueState(BACKLOG + 1, 4), Verdict.WARNING),
        ("sap.dlq", QueueState(1, 1), Verdict.WARNING),
        ("unrouted", QueueState(1, 0), Verdict.WARNING),
    ],
)
def test_a_queue_in_trouble_has_a_finding_with_a_remedy(queue: str, state: QueueState | None, verdict: Verdict) -> None:
    (finding,) = queue_findings({queue: state}, local=False)

    assert finding.verdict is verdict
    assert finding.remedy


@pytest.mark.parametrize(("queue", "state"), [("sap", QueueState(5, 1)), ("sap.dlq", QueueState(0, 0))])
def test_a_healthy_queue_has_no_finding(queue: str, state: QueueState) -> None:
    assert list(queue_findings({queue: state}, local=False)) == []


@pytest.mark.parametrize("queue", ["sap.dlq", "unrouted"])
def test_messages_in_a_dead_letter_queue_call_for_a_collector(queue: str) -> None:
    states: dict[str, QueueState | None] = {"sap": QueueState(5, 1), queue: QueueState(2, 0)}
    (kept,) = queue_findings(states, local=False)
    missed = collector(states, local=False)

    assert "`waybill collector`" in kept.remedy
    assert missed.verdict is Verdict.WARNING
    assert missed.found.startswith(f"messages wait in {queue}")
    assert "`waybill collector`" in missed.remedy


def test_a_collector_is_not_missed_while_no_message_waits_for_it() -> None:
    states = {"sap": QueueState(5, 1), "sap.dlq": QueueState(0, 0), "unrouted": None}

    assert collector(states, local=False).verdict is Verdict.GOOD


@pytest.mark.parametrize("queue", ["sap", "email"])
def test_a_queue_whose_worker_may_have_paused_is_reported_as_consumed_again(queue: str) -> None:
    (finding,) = queue_findings({queue: QueueState(2, 0)}, local=False)
    assert finding.remedy.startswith(f"start `waybill worker {queue}`")
    assert f"while the system behind {queue} is away" in finding.remedy


def test_a_local_queue_without_a_consumer_needs_only_its_worker() -> None:
    (finding,) = queue_findings({"validation": QueueState(2, 0)}, local=False)
    assert finding.remedy == "start `waybill worker local`"


def test_in_a_system_of_make_up_the_supervisor_restarts_a_worker() -> None:
    (finding,) = queue_findings({"validation": QueueState(2, 0)}, local=True)
    assert finding.remedy == "`lab restart worker-local`"
    assert "`lab restart collector`" in collector({"sap.dlq": QueueState(2, 0)}, local=True).remedy


def test_a_pool_counts_as_many_workers_as_take_from_each_of_its_queues() -> None:
    states = {queue: QueueState(0, 2) for queue in required_queues()} | {"audit": QueueState(0, 1), "email": None}
    found = {one.subject: one.found for one in workers(states)}
    assert set(found) == {"worker local", "worker sap", "worker invoice"}
    assert found["worker local"].startswith("1 on ")
    assert found["worker sap"] == "2 on sap"
