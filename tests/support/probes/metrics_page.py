"""The metrics page of a process."""

import urllib.request
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


def samples(port: int) -> Iterator[tuple[str, Sample]]:
    """Every sample on 127.0.0.1:`port`, with its metric's type."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            yield str(family.type), sample


def metric(port: int, name: str, **labels: str) -> float:
    """A sample's value on 127.0.0.1:`port`, summed over the labels not given; 0 while there is none."""
    return sum(
        sample.value for _, sample in samples(port) if sample.name == name and labels.items() <= sample.labels.items()
    )


def totals(port: int) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The samples that must never go down while the process lives: counters, and the counts of histograms."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for kind, sample in samples(port)
        if kind in {"counter", "histogram"} and not sample.name.endswith("_created")
    }
