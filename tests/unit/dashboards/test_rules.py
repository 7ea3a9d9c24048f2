"""The lists in the alert rules and the workers' scrape targets follow the table of steps."""

import re

import pytest

from dashboards import rules
from dashboards.rules import ALERTS, WORKER_TARGETS, with_table, worker_targets
from orders.workflow import STEPS


def test_the_committed_files_are_what_the_table_makes() -> None:
    assert with_table(ALERTS.read_text()) == ALERTS.read_text(), "call `make dashboards`"
    assert worker_targets() == WORKER_TARGETS.read_text(), "call `make dashboards`"


def test_a_new_pool_and_a_new_queue_appear_in_every_list(monkeypatch: pytest.MonkeyPatch) -> None:
    committed = ALERTS.read_text()
    monkeypatch.setattr(rules, "POOLS", ("local", "warehouse"))
    monkeypatch.setattr(rules, "BY_QUEUE", {"sap": None, "warehouse": None})
    monkeypatch.setattr(rules, "STEPS", STEPS[:2])

    made = with_table(committed)

    assert re.findall(r'absent\(waybill_worker_children\{pool="(\w+)"', made) == ["local", "warehouse"]
    assert made.count('queue=~"sap|warehouse"') == committed.count('queue=~"validation|')
    assert 'queue=~"(sap|warehouse)[.]dlq|unrouted"' in made
    assert re.findall(r'step="(\w+)"\}\[10m\]\)\), "queue"', made) == ["validate_order", "reserve_inventory"]
    assert "worker-warehouse:8083" in worker_targets()
    monkeypatch.undo()
    assert with_table(made) == committed


def test_rules_without_a_list_are_refused() -> None:
    with pytest.raises(ValueError, match="no list of the form"):
        with_table("groups: []")
