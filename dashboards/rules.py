"""The parts of Prometheus's files that follow from the table of steps: lists in alert rules, the workers' targets.

`alerts.yml` is written by hand, except the places that name every queue, step or pool. `with_table` replaces those
places and leaves the rest as it is. `write` is called by `make dashboards`; a test holds the files to the table.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from orders.workflow import BY_QUEUE, POOLS, STEPS, UNROUTED_QUEUE

FOLDER = Path(__file__).parent.parent / "deploy" / "prometheus"
ALERTS = FOLDER / "alerts.yml"
WORKER_TARGETS = FOLDER / "targets" / "worker.yml"
WORKER_PORT = 8083  # each worker's container has it on the containers' own network (compose.yaml)

_QUEUES = re.compile(r'(?<=queue=~")[\w-]+(?:\|[\w-]+)+(?=")')
_DEAD_LETTER_QUEUES = re.compile(r'(?<=queue=~")\([\w|-]+\)\[\.\]dlq\|[\w-]+(?=")')
_POOLS = re.compile(r'^( +)absent\(waybill_worker_children\{pool="\w+"\}\)(?:\n +or absent\(.*)*', re.MULTILINE)
_PACE = re.compile(
    r'^( +)label_replace\(sum\(rate\(waybill_deliveries_total\{step="\w+"\}.*(?:\n +or label_replace\(.*)*',
    re.MULTILINE,
)


def _any_of(terms: Sequence[str], indent: str) -> str:
    return "\n".join(f"{indent}{'or ' if number else ''}{term}" for number, term in enumerate(terms))


def _absent_pools() -> list[str]:
    return [f'absent(waybill_worker_children{{pool="{pool}"}})' for pool in POOLS]


def _pace_of_queues() -> list[str]:
    paces = {step.queue: f'sum(rate(waybill_deliveries_total{{step="{step.name}"}}[10m]))' for step in STEPS}
    return [f'label_replace({pace}, "queue", "{queue}", "", "")' for queue, pace in paces.items()]


def with_table(rules: str) -> str:
    """These rules with the table's queues, steps and pools in every list. Raises ValueError if a list is missing."""
    queues = "|".join(BY_QUEUE)
    lists = (
        (_QUEUES, lambda _: queues),
        (_DEAD_LETTER_QUEUES, lambda _: f"({queues})[.]dlq|{UNROUTED_QUEUE}"),
        (_POOLS, lambda found: _any_of(_absent_pools(), found[1])),
        (_PACE, lambda found: _any_of(_pace_of_queues(), found[1])),
    )
    for pattern, replacement in lists:
        rules, count = pattern.subn(replacement, rules)
        if not count:
            raise ValueError(f"the alert rules have no list of the form {pattern.pattern}")
    return rules


def worker_targets() -> str:
    """The scrape targets of compose's workers, one service for each pool."""
    targets = ", ".join(f"worker-{pool}:{WORKER_PORT}" for pool in POOLS)
    return (
        "# Written by `make dashboards` from the pools in orders/workflow.py.\n"
        "# One name is one process: a service with several containers (--scale) would be scraped as if it were one.\n"
        f"- targets: [{targets}]\n"
    )


def write() -> None:
    """Write both files anew."""
    ALERTS.write_text(with_table(ALERTS.read_text()))
    WORKER_TARGETS.write_text(worker_targets())
