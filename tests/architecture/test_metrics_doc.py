"""docs/metrics.md is a contract: it lists what the code counts, no more and no less."""

import re
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from api.metrics import Metrics
from relay import metrics as relay_metrics

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
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
    in_code = described(registry._collector_to_names) | described(vars(relay_metrics).values())
    assert len(in_code) > 10
    assert documented() == in_code
