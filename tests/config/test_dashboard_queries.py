"""The dashboards' queries are PromQL, and name figures that exist, by labels that they have."""

import re
import subprocess
from pathlib import Path

import yaml

from dashboards.files import FOLDER
from dashboards.flow import BURNS
from lab.observe.panels import read_panels
from tests.support.paths import ROOT
from tests.support.probes.promql import names

PANELS = read_panels(FOLDER)
ROW = re.compile(r"^\| `(?P<name>waybill_\w+)` \| (?P<type>\w+) \| (?P<labels>[^|]+) \|", re.MULTILINE)
PAGE = {row["name"]: row for row in ROW.finditer((ROOT / "docs" / "metrics.md").read_text())}
RULES = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
RECORDED = {rule["record"] for group in RULES for rule in group["rules"] if "record" in rule}

# Metrics of other programs; `make observe` checks that they are still exported.
OF_OTHERS = {
    "ALERTS",
    "ALERTS_FOR_STATE",
    "up",
    "rabbitmq_alarms_free_disk_space_watermark",
    "rabbitmq_alarms_memory_used_watermark",
    "rabbitmq_channels",
    "rabbitmq_connections",
    "rabbitmq_disk_space_available_bytes",
    "rabbitmq_disk_space_available_limit_bytes",
    "rabbitmq_global_messages_acknowledged_total",
    "rabbitmq_global_messages_dead_lettered_delivery_limit_total",
    "rabbitmq_global_messages_dead_lettered_rejected_total",
    "rabbitmq_global_messages_delivered_total",
    "rabbitmq_global_messages_received_total",
    "rabbitmq_global_messages_redelivered_total",
    "rabbitmq_global_messages_unroutable_returned_total",
    "rabbitmq_process_resident_memory_bytes",
    "rabbitmq_queue_consumers",
    "rabbitmq_queue_messages",
    "rabbitmq_queue_messages_ready",
    "rabbitmq_queue_messages_unacked",
    "rabbitmq_resident_memory_limit_bytes",
}
LABELS_OF_OTHERS = {"job", "instance", "le", "queue", "queue_type", "alertname", "alertstate", "severity", "slo"}
# An alert's long window, its burn, and the short window beside it.
BURN = re.compile(r"budget_burn:rate(\w+)\{[^}]*\} > ([\d.]+)\s+and slo:waybill_budget_burn:rate(\w+)\{")
# Our metrics that are on no dashboard, with the reason.
NOT_SHOWN: dict[str, str] = {}


def of_ours(series: str) -> str:
    """The metric's name on the page that a series belongs to."""
    bare = re.sub(r"_(bucket|count|sum)$", "", series)
    return bare if bare in PAGE and PAGE[bare]["type"] == "histogram" else series


def test_promtool_reads_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": panel.expr} for number, panel in enumerate(PANELS)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    checked = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(PANELS)} rules found" in checked.stdout


def test_every_figure_asked_for_is_one_that_somebody_exports() -> None:
    for panel in PANELS:
        asked = names(panel.expr).metrics
        assert asked, f"{panel.dashboard}, {panel.title}: {panel.expr}"
        for series in asked:
            known = of_ours(series) in PAGE or series in OF_OTHERS or series in RECORDED
            assert known, f"{panel.dashboard}, {panel.title}: {series}"


def test_each_metric_of_other_programs_on_the_page_is_queried() -> None:
    assert {series for panel in PANELS for series in names(panel.expr).metrics} >= OF_OTHERS


def test_every_label_asked_for_is_one_that_a_figure_of_the_query_has() -> None:
    for panel in PANELS:
        asked = names(panel.expr)
        ours = {of_ours(series) for series in asked.metrics} & set(PAGE)
        have = {label for name in ours for label in re.findall(r"`(\w+)`", PAGE[name]["labels"])}
        assert asked.labels <= have | LABELS_OF_OTHERS, f"{panel.dashboard}, {panel.title}: {panel.expr}"


def test_every_figure_of_ours_is_on_a_dashboard() -> None:
    shown = {of_ours(series) for panel in PANELS for series in names(panel.expr).metrics}

    assert len(PAGE) > 30
    assert set(PAGE) - shown == set(NOT_SHOWN)


def test_a_burn_of_an_error_budget_is_red_where_an_alert_begins() -> None:
    expressions = [rule["expr"] for group in RULES for rule in group["rules"] if "alert" in rule]
    found = {pair for expression in expressions for pair in BURN.findall(expression)}
    assert found == {(long, f"{above[-1]:g}", short) for long, short, above in BURNS}


def test_a_counter_is_asked_how_fast_it_grows() -> None:
    counters = [
        (panel, series)
        for panel in PANELS
        for series in names(panel.expr).metrics
        if series.endswith(("_total", "_bucket", "_count"))
    ]
    assert counters
    for panel, series in counters:
        found = re.findall(rf"(\w+)\({series}\b", panel.expr)
        assert found, f"{panel.dashboard}, {panel.title}: {series} stands in no function"
        assert set(found) <= {"rate", "increase"}, f"{panel.dashboard}, {panel.title}: {series}"
