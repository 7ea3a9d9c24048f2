"""The parts of promtool's unit tests that follow from the table of steps: the series of every step, pool and queue.

The tests of deploy/prometheus/tests are written by hand, except their lists of series that a whole system has. Of such
a list `with_table` takes the lines of its first name as the pattern and writes them for each name of the table; it
leaves the rest as it is. `write` is called by `make dashboards`; a test holds the files to the table.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dashboards.rules import FOLDER
from orders.workflow import POOLS, STEPS, pool_of

TESTS = FOLDER / "tests"
# The pool that has no worker in the test of WaybillPoolWithoutWorker.
WITHOUT_WORKER = "email"


@dataclass(frozen=True, slots=True)
class SeriesList:
    """Lines of series, one beside the other, that have a label for each of `names`."""

    series: str
    label: str
    names: Callable[[], Sequence[str]]

    def with_names(self, text: str) -> str:
        """The text with this list written anew. Raises ValueError if it has no such list."""
        line = rf"""^ +- {{ series: '{self.series}{{[^}}]*{self.label}="(?!unrouted").*\n"""
        text, count = re.subn(rf"(?:{line})+", lambda found: self._written(found[0]), text, flags=re.MULTILINE)
        if not count:
            raise ValueError(f"the unit tests have no list of {self.series} by {self.label}")
        return text

    def _written(self, lines: str) -> str:
        label = rf'(?<={self.label}=")[\w-]+'
        first = re.search(label, lines)
        assert first is not None, "each line has the label"
        pattern = [line for line in lines.splitlines(keepends=True) if re.search(label, line)[0] == first[0]]  # type: ignore[index]
        return "".join(re.sub(label, name, line) for name in self.names() for line in pattern)


def _steps() -> list[str]:
    return [step.name for step in STEPS]


def _queues() -> list[str]:
    return [step.queue for step in STEPS]


def _outside_queues() -> list[str]:
    return [step.queue for step in STEPS if pool_of(step).outside]


def _pools() -> list[str]:
    return list(POOLS)


def _pools_with_worker() -> list[str]:
    return [pool for pool in POOLS if pool != WITHOUT_WORKER]


LISTS: dict[str, tuple[SeriesList, ...]] = {
    "all_well.yml": (
        SeriesList("waybill_deliveries_total", "step", _steps),
        SeriesList("waybill_worker_(?:busy_seconds_total|children)", "pool", _pools),
        SeriesList("waybill_circuit_open", "queue", _outside_queues),
        SeriesList("rabbitmq_queue_(?:messages|consumers)", "queue", _queues),
    ),
    "presence.yml": (SeriesList("waybill_worker_children", "pool", _pools_with_worker),),
}


def with_table(file: str, text: str) -> str:
    """The text of a file of unit tests with the table's names in each of its lists."""
    for one in LISTS[file]:
        text = one.with_names(text)
    return text


def write() -> None:
    """Write the files anew."""
    for file in LISTS:
        path = TESTS / file
        path.write_text(with_table(file, path.read_text()))
