"""docs/metrics.md is a contract: it lists each metric and log event of the code, and no other."""

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from api.metrics import Metrics
from consumers.collector import metrics as collector_metrics
from consumers.delivery.result import DeliveryResult
from consumers.worker import metrics
from outbox.partitions.expiry import ExpiryOutcome
from relay.health import metrics as relay_metrics
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "metrics.md"
LOG_EVENT = re.compile(r"^\| `(\w+)` \| (?:debug|info|warning|error|critical) \|", re.MULTILINE)
# The plugin's own name is no figure.
OF_RABBITMQ = re.compile(r"\brabbitmq_(?!prometheus\b)\w+")
QUERIES = [*(ROOT / "deploy").glob("prometheus/alerts.yml"), *(ROOT / "deploy").glob("grafana/dashboards/*.json")]
ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<type>\w+) \| (?P<labels>[^|]+) \| (?P<what>[^|]+) \|$", re.MULTILINE)


def described(collectors: Iterable[Collector | object]) -> set[tuple[str, str, tuple[str, ...], str]]:
    found = set()
    for collector in collectors:
        if isinstance(collector, MetricWrapperBase):
            suffix = "_total" if collector._type == "counter" else ""
            labels = tuple(collector._labelnames)
            found.add((f"{collector._name}{suffix}", str(collector._type), labels, collector._documentation))
    return found


def documented(section: str) -> set[tuple[str, str, tuple[str, ...], str]]:
    return {
        (str(row["name"]), str(row["type"]), tuple(re.findall(r"`(\w+)`", row["labels"])), str(row["what"]))
        for row in ROW.finditer(section)
    }


def sections() -> dict[str, str]:
    """The page's text by the headings of its second level."""
    _, *parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_page_lists_every_metric_of_the_code_where_it_is_exported_with_its_labels_and_nothing_else() -> None:
    registry: CollectorRegistry = Metrics().registry
    in_code = {
        "API": described(registry._collector_to_names),
        "Workers": described(vars(metrics).values()),
        "Relay and outbox": described(vars(relay_metrics).values()),
        "Collector": described(vars(collector_metrics).values()),
    }
    assert all(len(metrics) > 3 for metrics in in_code.values())
    listed = {heading: documented(section) for heading, section in sections().items()}
    assert {heading: metrics for heading, metrics in listed.items() if metrics} == in_code


def test_the_page_says_what_each_outcome_of_a_delivery_means() -> None:
    explained = re.findall(r"^\| (\w+) \| [^|]+ \|$", sections()["Workers"], re.MULTILINE)
    assert explained == ["outcome", *(outcome.value for outcome in DeliveryResult)]


def test_the_page_lists_each_metric_of_rabbitmq_that_alerts_and_dashboards_read() -> None:
    read = {name for file in QUERIES for name in OF_RABBITMQ.findall(file.read_text())}
    listed = set(re.findall(r"^\| `(rabbitmq_\w+)` \|", sections()["RabbitMQ"], re.MULTILINE))
    assert read - listed == set()


def logged(files: Iterable[Path]) -> set[str]:
    """The names of the log events that code gives as text."""
    calls = [
        node
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    return {
        str(call.args[0].value)
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "log"
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }


def test_the_page_lists_everything_that_the_processes_say_and_nothing_else() -> None:
    reported = {outcome.value for outcome in ExpiryOutcome}
    for room in ("api", "relay", "consumers", "outbox", "runtime"):
        reported |= logged((ROOT / room).rglob("*.py"))
    assert len(reported) > 10
    assert set(LOG_EVENT.findall(PAGE.read_text())) == reported
