"""The lists of series in promtool's unit tests follow the table of steps."""

import re

import pytest

from dashboards import rule_tests
from dashboards.rule_tests import LISTS, TESTS, with_table
from orders import workflow
from orders.workflow import POOLS, STEPS, Pool, Step

SERIES = re.compile(r""".*'(\w+)\{.*?((?:queue|step|pool)="[^}]*)\}'.*""")
WAREHOUSE = Step("notify_warehouse", "warehouse", ("order.synced",), (), "warehouse", 30, 900)


@pytest.mark.parametrize("file", LISTS)
def test_the_committed_files_are_what_the_table_makes(file: str) -> None:
    committed = (TESTS / file).read_text()
    assert with_table(file, committed) == committed, "call `make dashboards`"


def test_a_new_step_with_a_pool_of_its_own_appears_in_every_list(monkeypatch: pytest.MonkeyPatch) -> None:
    committed = {file: (TESTS / file).read_text() for file in LISTS}
    pools = {**POOLS, "warehouse": Pool("warehouse", 2, outside=True)}
    monkeypatch.setattr(rule_tests, "STEPS", (*STEPS, WAREHOUSE))
    monkeypatch.setattr(rule_tests, "POOLS", pools)
    monkeypatch.setattr(workflow, "POOLS", pools)

    made = {file: with_table(file, text) for file, text in committed.items()}

    lines = set(made["all_well.yml"].splitlines()) - set(committed["all_well.yml"].splitlines())
    added = [SERIES.sub(r"\1 \2", line) for line in lines]
    assert sorted(added) == [
        'rabbitmq_queue_consumers queue="warehouse"',
        'rabbitmq_queue_consumers queue="warehouse.dlq"',
        'rabbitmq_queue_messages queue="warehouse"',
        'rabbitmq_queue_messages queue="warehouse.dlq"',
        'waybill_circuit_open queue="warehouse"',
        'waybill_deliveries_total step="notify_warehouse", outcome="dead"',
        'waybill_deliveries_total step="notify_warehouse", outcome="done"',
        'waybill_deliveries_total step="notify_warehouse", outcome="retried"',
        'waybill_worker_busy_seconds_total pool="warehouse"',
        'waybill_worker_children pool="warehouse"',
    ]
    assert (
        made["presence.yml"].count('waybill_worker_children{job="worker", instance="worker:1", pool="warehouse"}') == 1
    )
    monkeypatch.undo()
    assert {file: with_table(file, text) for file, text in made.items()} == committed


def test_a_file_without_a_list_is_refused() -> None:
    with pytest.raises(ValueError, match="no list of waybill_worker_children by pool"):
        with_table("presence.yml", "tests: []")
