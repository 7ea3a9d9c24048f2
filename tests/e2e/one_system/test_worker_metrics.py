"""Each running worker serves its counts on its own port, and counts a second copy of an event as a copy."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from lab.prove.faults.message import copy
from lab.stack.local import LocalStack
from ops.doctor import broker_client
from orders.workflow import STEPS
from outbox.envelope import Event
from tests.support.probes.metrics_page import metric
from tests.support.processes.running_system import order, place, query

Finished = Callable[[str], dict[str, Any]]

FULFILLED = """
SELECT event_id, type, subject, source, time, data, dataschema, traceparent, generation FROM outbox.events
WHERE subject = $1 AND type = 'order.fulfilled'"""


def counted(stack: LocalStack, pool: str, step: str, outcome: str) -> float:
    port = stack.addresses.ports[f"worker-{pool}"]
    return metric(port, "waybill_deliveries_total", step=step, outcome=outcome)


def rises_above(before: float, count: Callable[[], float], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while count() <= before and time.monotonic() < deadline:
        time.sleep(0.1)  # the poll's pace; the wait ends with the count
    return count() > before


def test_each_worker_counts_the_deliveries_of_its_steps(stack: LocalStack, finished: Finished) -> None:
    finished(place(stack, order("E2E-COUNTED")))

    for step in STEPS:
        assert rises_above(0, partial(counted, stack, step.pool, step.name, "done")), step.name


def test_an_event_that_comes_once_more_is_counted_as_a_duplicate(stack: LocalStack, finished: Finished) -> None:
    location = place(stack, order("E2E-TWICE"))
    finished(location)
    (row,) = query(stack, FULFILLED, location.rpartition("/")[2])

    def duplicates() -> float:
        return counted(stack, "local", "finalize_order", "duplicate")

    before = duplicates()
    with broker_client.connection(stack.amqp_url) as link:
        link.channel().basic_publish_confirm(copy(Event(*row)), "", "finalization")

    assert rises_above(before, duplicates)
