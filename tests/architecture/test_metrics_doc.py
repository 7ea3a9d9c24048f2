"""docs/metrics.md is a contract: it lists what the code counts, no more and no less."""

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from api.metrics import Metrics
from consumers import metrics as collector_metrics
from consumers import worker_metrics
from outbox.expiry import Outcome
from relay import metrics as relay_metrics

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"
LOG_EVENT = re.compile(r"^\| `(\w+)` \| (?:debug|info|warning|error) \|", re.MULTILINE)
ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<type>\w+) \| (?P<labels>[^|]+) \| (?P<what>[^|]+) \|$", re.MULTILINE)


def described(collectors: Iterable[Collector | object]) -> set[tuple[str, str, tuple[str, ...], str]]:
    found = set()
    for collector in collectors:
        if isinstance(collector, MetricWrapperBase):
            suffix = "_total" if collector._type == "counter" else ""
            labels = tuple(collector._labelnames)
            found.add((f"{collector._name}{suffix}", str(collector._type), labels, collector._documentation))
    return found


def documented() -> set[tuple[str, str, tuple[str, ...], str]]:
    rows = ROW.finditer(PAGE.read_text())
    return {
        (str(row["name"]), str(row["type"]), tuple(re.findall(r"`(\w+)`", row["labels"])), str(row["what"]))
        for row in rows
    }


def test_the_page_lists_every_metric_of_the_code_with_its_labels_and_nothing_else() -> None:
    registry: CollectorRegistry = Metrics().registry
    in_code = described(registry._collector_to_names)
    for module in (relay_metrics, collector_metrics, worker_metrics):
        in_code |= described(vars(module).values())
    assert len(in_code) > 10
    assert documented() == in_code


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
    said = {outcome.value for outcome in Outcome}
    for room in ("api", "relay", "consumers", "outbox", "runtime"):
        said |= logged((ROOT / room).rglob("*.py"))
    assert len(said) > 10
    assert set(LOG_EVENT.findall(PAGE.read_text())) == said
