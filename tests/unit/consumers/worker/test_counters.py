"""A worker counts every report of its children, knows what runs, and exports nothing of other workers' steps."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace

import pytest
from prometheus_client import REGISTRY

from consumers.delivery.result import ATTEMPTED, DeliveryResult
from consumers.worker.child_reports import ReportPipe
from consumers.worker.chores import Chores
from consumers.worker.counters import DeliveryCounters
from orders.workflow import POOLS, steps_of
from tests.support.builders.child_reports import SAP, child_report
from tests.support.paths import ROOT


@dataclass
class Request:
    """An active request of Celery's."""

    id: str
    name: str


@pytest.fixture
def reports() -> Iterator[ReportPipe]:
    opened = ReportPipe()
    yield opened
    opened.close()


def value(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(name, labels)
    assert found is not None
    return found


def count(result: DeliveryResult) -> float:
    return value("waybill_deliveries_total", step=SAP.name, outcome=result.value)


def test_every_word_of_the_children_is_counted_and_handed_on(reports: ReportPipe) -> None:
    counters = DeliveryCounters(reports, "sap", 8)
    before = {outcome: count(outcome) for outcome in DeliveryResult}
    attempts = value("waybill_step_seconds_count", step=SAP.name)
    sent = [child_report(outcome) for outcome in (DeliveryResult.DONE, DeliveryResult.DONE, *DeliveryResult)]
    for report in sent:
        reports.send(report)
    assert [report.task for report in counters.update([])] == [report.task for report in sent]
    assert {outcome: count(outcome) - before[outcome] for outcome in DeliveryResult} == {
        outcome: 3 if outcome is DeliveryResult.DONE else 1 for outcome in DeliveryResult
    }
    assert value("waybill_step_seconds_count", step=SAP.name) - attempts == len(ATTEMPTED) + 2


def test_an_effect_is_observed_by_its_event_and_only_where_its_time_is_known(reports: ReportPipe) -> None:
    counters = DeliveryCounters(reports, "sap", 8)
    labels = {"step": SAP.name, "event": SAP.listens_to[0]}
    before = [value(f"waybill_commit_to_effect_seconds_{what}", **labels) for what in ("count", "sum")]
    reports.send(child_report(DeliveryResult.DONE, effect_seconds=59.5))
    reports.send(child_report(DeliveryResult.DONE))
    counters.update([])
    after = [value(f"waybill_commit_to_effect_seconds_{what}", **labels) for what in ("count", "sum")]
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 59.5]
    assert value("waybill_commit_to_effect_seconds_bucket", **labels, le="60.0") >= 1


def test_running_and_busy_follow_what_celery_and_the_children_say(reports: ReportPipe) -> None:
    counters = DeliveryCounters(reports, "sap", 8)
    busy = value("waybill_worker_busy_seconds_total", pool="sap")
    counters.update([Request("a", SAP.name), Request("b", SAP.name)])
    assert value("waybill_deliveries_running", step=SAP.name) == 2
    reports.send(child_report(DeliveryResult.DONE, seconds=1000.0))
    counters.update([])
    assert value("waybill_deliveries_running", step=SAP.name) == 0
    assert value("waybill_worker_busy_seconds_total", pool="sap") - busy >= 1000
    assert value("waybill_worker_children", pool="sap") == 8


def test_words_that_found_the_pipe_full_are_counted_as_lost(reports: ReportPipe) -> None:
    counters, sent = DeliveryCounters(reports, "sap", 8), 50_000
    before, done = value("waybill_worker_reports_lost_total", pool="sap"), count(DeliveryResult.DONE)
    report = child_report(DeliveryResult.DONE)
    for _ in range(sent):
        reports.send(report)
    counters.update([])
    reports.send(report)
    counters.update([])
    lost = value("waybill_worker_reports_lost_total", pool="sap") - before
    assert lost > 0
    assert lost + count(DeliveryResult.DONE) - done == sent + 1


def test_reports_sent_as_the_pool_ended_are_counted_last_of_all(reports: ReportPipe) -> None:
    parent = SimpleNamespace(app=SimpleNamespace(counters=DeliveryCounters(reports, "sap", 8)), steps=[])
    chores, before = Chores(parent), count(DeliveryResult.DONE)
    reports.send(child_report(DeliveryResult.DONE))
    chores.shutdown(parent)
    assert count(DeliveryResult.DONE) - before == 1


# One child of this child for each pool: the library has one registry per process, and Celery is imported once for all.
_EXPORTED = """
import json, os, sys
from prometheus_client import generate_latest
from consumers.worker.app import make_celery
from runtime.settings import Settings
settings = Settings(database_url="postgresql://x@127.0.0.1:1/x", amqp_url="amqp://127.0.0.1:1/")
for pool in sys.argv[1:]:
    if (child := os.fork()) == 0:
        make_celery(settings, pool)
        print(json.dumps([pool, generate_latest().decode()]), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@cache
def exported() -> dict[str, str]:
    """The metrics page of each pool's worker before its first delivery."""
    command = [sys.executable, "-c", _EXPORTED, *POOLS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("pool", POOLS)
def test_a_worker_exports_its_own_steps_from_the_start_and_no_others(pool: str) -> None:
    samples = [line for line in exported()[pool].splitlines() if line.startswith("waybill_") and "_created" not in line]
    for step in steps_of(pool):
        for outcome in DeliveryResult:
            assert f'waybill_deliveries_total{{outcome="{outcome.value}",step="{step.name}"}} 0.0' in samples
        assert f'waybill_step_seconds_count{{step="{step.name}"}} 0.0' in samples
        assert f'waybill_deliveries_running{{step="{step.name}"}} 0.0' in samples
        for event in step.listens_to:
            assert f'waybill_commit_to_effect_seconds_count{{event="{event}",step="{step.name}"}} 0.0' in samples
    assert f'waybill_worker_busy_seconds_total{{pool="{pool}"}} 0.0' in samples
    circuits = [line for line in samples if line.startswith("waybill_circuit_open")]
    assert circuits == [f'waybill_circuit_open{{queue="{pool}"}} 0.0' for pool in {pool} & {"sap", "email", "invoice"}]
    others = [step.name for other in POOLS if other != pool for step in steps_of(other)]
    assert not [line for line in samples if any(name in line for name in others)]
