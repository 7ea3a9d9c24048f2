"""deploy/prometheus/alerts.yml: each alert is shown to fire and to stay silent, stands on figures that exist, misses
them when they do not, and links to a section with the remedy.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.metrics import _SECONDS
from lab.observe.rule_tests import expectations, run_unit_test
from lab.observe.rules import WATCHDOG, alerts_of
from orders.workflow import BY_QUEUE, POOLS, STEPS, UNROUTED_QUEUE
from tests.support.paths import ROOT

FILE = ROOT / "deploy" / "prometheus" / "alerts.yml"
TESTS = FILE.parent / "tests"
UNIT_TESTS = sorted(TESTS.glob("*.yml"))
TEXT = FILE.read_text()
RULES: list[dict[str, Any]] = [rule for group in yaml.safe_load(TEXT)["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
ABSENT = "job_figure:waybill_absent"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()

# Series of other programs that rules stand on, as RabbitMQ 3.10's plugin, Prometheus and its client library name them.
FOREIGN = {
    "rabbitmq_alarms_free_disk_space_watermark",
    "rabbitmq_alarms_memory_used_watermark",
    "rabbitmq_disk_space_available_bytes",
    "rabbitmq_disk_space_available_limit_bytes",
    "rabbitmq_process_resident_memory_bytes",
    "rabbitmq_queue_consumers",
    "rabbitmq_queue_messages",
    "rabbitmq_resident_memory_limit_bytes",
    "process_start_time_seconds",
    "prometheus_config_last_reload_successful",
    "prometheus_rule_evaluation_failures_total",
    "up",
}
STRING = re.compile(r'"[^"]*"')
METRIC = re.compile(r"(?<![\w:])(?:waybill|rabbitmq|prometheus|process)_\w+|\bup\b")


def figures(expression: str) -> set[str]:
    """The metrics that an expression reads, those of a histogram by its name."""
    found = METRIC.findall(STRING.sub("", expression))
    return {re.sub(r"(?<=_seconds)_(bucket|count|sum)$", "", name) for name in found}


def documented() -> set[str]:
    page = (ROOT / "docs" / "metrics.md").read_text()
    return set(re.findall(r"^\| `(waybill_\w+)` \| (?:counter|gauge|histogram) \|", page, re.MULTILINE))


def anchor(heading: str) -> str:
    """The anchor that GitHub makes of a heading's text."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def sections() -> dict[str, str]:
    """The runbook's sections by their anchors."""
    parts = re.split(r"^#{1,6} (.+)$", RUNBOOK, flags=re.MULTILINE)
    return {anchor(heading): text for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_promtool_finds_no_fault_in_the_rules(promtool: str) -> None:
    done = subprocess.run([promtool, "check", "rules", FILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULES)} rules found" in done.stdout


def test_a_rule_stands_on_named_series_and_on_no_alert() -> None:
    """So `needed_rules` finds all that an alert stands on, by the names in its expression."""
    for rule in RULES:
        assert not re.search(r"\bALERTS|__name__", rule["expr"]), rule


@pytest.mark.parametrize("file", UNIT_TESTS, ids=lambda file: file.stem)
def test_promtools_unit_tests_pass(promtool: str, file: Path) -> None:
    run_unit_test(promtool, file)


def test_each_alert_fires_in_a_test_and_stays_silent_in_another() -> None:
    firing = {alert for file in UNIT_TESTS for alert, fires in expectations(file.read_text()) if fires}
    assert firing == set(alerts_of(TEXT))
    near_misses = [file for file in UNIT_TESTS if file.stem != "all_well"]
    expected = [one for file in near_misses for one in expectations(file.read_text())]
    assert {alert for alert, fires in expected if not fires} == set(ALERTS) - {WATCHDOG}


def test_a_system_that_is_well_is_asked_for_every_alert() -> None:
    assert dict(expectations((TESTS / "all_well.yml").read_text())) == {name: name == WATCHDOG for name in ALERTS}


def test_no_name_is_given_twice_and_each_says_whose_it_is() -> None:
    assert len(alerts_of(TEXT)) == len(ALERTS) > 30
    assert all(re.fullmatch(r"Waybill([A-Z][a-z]+)+", name) for name in ALERTS)
    assert all(re.fullmatch(r"\w+:waybill_\w+:\w+|\w+:\w+:\w+|job_figure:\w+", name) for name in RECORDED)


def test_each_alert_says_how_bad_it_is_and_what_it_is() -> None:
    for name, alert in ALERTS.items():
        assert alert["labels"]["severity"] in ({"none"} if name == WATCHDOG else {"page", "ticket"}), name
        assert set(alert["labels"]) == {"severity"}, name
        assert {"summary", "runbook_url"} <= set(alert["annotations"]) <= {"summary", "description", "runbook_url"}
        assert re.fullmatch(r"(?s)['\"]?\S.*\.", alert["annotations"]["summary"].strip()), name


def test_each_alert_leads_to_a_section_of_the_runbook_that_speaks_of_it() -> None:
    there = sections()
    for name, alert in ALERTS.items():
        page, _, where = alert["annotations"]["runbook_url"].partition("#")
        assert page == "docs/runbook.md", name
        assert f"`{name}`" in there.get(where, ""), f"{name}: no section #{where} names it"


def test_the_runbook_names_no_alert_that_is_not_there() -> None:
    assert set(re.findall(r"`(Waybill\w+)`", RUNBOOK)) == set(ALERTS)


def test_the_page_of_alerts_lists_each_with_its_severity_and_its_section() -> None:
    rows = re.findall(
        r"^\| `(Waybill\w+)` \| (\w+) \| [^|]+ \| .*\]\((runbook\.md#[\w-]+)\).* \|$",
        (ROOT / "docs" / "alerts.md").read_text(),
        re.MULTILINE,
    )
    assert [(name, severity, f"docs/{section}") for name, severity, section in rows] == [
        (name, alert["labels"]["severity"], alert["annotations"]["runbook_url"]) for name, alert in ALERTS.items()
    ]


def test_every_figure_that_a_rule_reads_exists() -> None:
    read = {figure for rule in RULES for figure in figures(rule["expr"])}
    assert len(read) > 30
    assert read <= documented() | FOREIGN
    assert not FOREIGN - read


def test_each_metric_that_an_alert_stands_on_is_missed_when_it_is_absent() -> None:
    watched = next(rule["expr"] for rule in RULES if rule.get("record") == ABSENT)
    read = {figure for rule in RULES if rule.get("record") != ABSENT for figure in figures(rule["expr"])}
    assert figures(watched) == read - {"up"}  # WaybillJobDown checks `up`
    named = re.findall(r'absent\((\w+)\{job="(\w+)"(?:, queue!="")?\}\), "figure", "(\w+)"', watched)
    assert len(named) == watched.count("absent(")
    assert all(figures(metric) == {name} for metric, _, name in named)
    assert re.findall(r'absent\((\w+)\{[^}]*queue!=""\}\)', watched) == [
        figure for _, _, figure in named if figure.startswith("rabbitmq_queue_")
    ]


def test_every_recorded_figure_is_read_by_an_alert() -> None:
    read = " ".join(rule["expr"] for rule in ALERTS.values())
    assert {name for name in RECORDED if name not in read} == set()


def test_the_rules_know_the_workflows_queues_steps_and_pools() -> None:
    expressions = " ".join(rule["expr"] for rule in RULES)
    pace = next(rule["expr"] for rule in RULES if rule.get("record") == "queue:waybill_deliveries:rate10m")
    of_step = re.findall(r'step="(\w+)"\}\[10m\]\)\), "queue", "(\w+)"', pace)
    assert of_step == [(step.name, step.queue) for step in STEPS]
    assert set(re.findall(r'absent\(waybill_worker_children\{pool="(\w+)"\}', expressions)) == set(POOLS)
    queues = "|".join(BY_QUEUE)
    lists = set(re.findall(r'queue=~"([^"]+)"', expressions))
    assert lists == {queues, f"({queues})[.]dlq|{UNROUTED_QUEUE}"}


def test_the_time_to_accept_an_order_is_a_bound_of_its_histogram() -> None:
    assert set(re.findall(r'le="([^"]+)"', TEXT)) == {"0.2"}
    assert 0.2 in _SECONDS
