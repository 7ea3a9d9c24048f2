"""A message that kills each worker that touches it ends in the dead-letter queue, and its neighbours go through."""

from pathlib import Path

import pytest

from consumers.worker.cloud_event_task import task_id
from lab.stack.ports import free_port
from orders.model import Order
from orders.workflow import BY_NAME
from outbox.envelope import Event
from runtime.settings import Settings
from tests.support.builders.step_harness import StepHarness, with_step_harness
from tests.support.probes.broker_queues import Queues
from tests.support.probes.metrics_page import metric
from tests.support.processes.relay import relay
from tests.support.processes.worker import apply_topology, wait_until_it_consumes, worker

NEIGHBOURS = 8
POISONED = ("-m", "tests.support.processes.poisoned_worker")


@pytest.mark.parametrize("step", ["validate_order", "send_confirmation_email"])
def test_a_poison_message_dies_after_three_claims_and_its_neighbours_live(
    settings: Settings, database_url: str, amqp_url: str, tmp_path: Path, step: str
) -> None:
    """Its first delivery to a local step is not claimed: that one costs a child more."""
    queue, pool = BY_NAME[step].queue, BY_NAME[step].pool
    changes = {"delivery_lease_seconds": 1.1, "worker_http_port": free_port()}
    life = settings.model_copy(update={"database_url": database_url, "amqp_url": amqp_url, **changes})
    apply_topology(life)

    async def orders(harness: StepHarness) -> list[tuple[Order, Event]]:
        if step == "validate_order":
            placed = [await harness.place_order() for _ in range(NEIGHBOURS + 1)]
            return [(order, await harness.event(order, "order.placed")) for order in placed]
        return [await harness.synced() for _ in range(NEIGHBOURS + 1)]

    async def done(harness: StepHarness) -> int:
        statement = "SELECT count(*) FROM outbox.deliveries WHERE consumer = :queue AND state = 'done'"
        return int(await harness.value(statement, queue=queue))

    made = with_step_harness(life, orders)
    poisonous, poison = made[NEIGHBOURS // 2]
    with (
        Queues.of(amqp_url) as queues,
        worker(pool, life, tmp_path, entry=POISONED, POISON=str(poisonous.id)) as started,
    ):
        wait_until_it_consumes(started, queues, pool)
        with relay(life.database_url, life.amqp_url, tmp_path):
            started.wait_until(lambda: queues.depth(f"{queue}.dlq") == 1, "the poison in its dead-letter queue")
        started.wait_until(lambda: with_step_harness(life, done) == NEIGHBOURS, "every neighbour done")
        _, body = queues.take(f"{queue}.dlq")
        assert body == poison.data
        assert queues.depth(queue) == 0
        lines = started.lines()
        lost = [line for line in lines if "WorkerLostError" in line["event"]]
        logged = [line for line in lines if line["event"] == "child_lost"]
        counted = metric(life.worker_http_port, "waybill_worker_children_lost_total", pool=pool)

    # What the main process says of a child that died with a task, says which delivery that was.
    assert lost
    assert len(lost) == len(logged) == counted
    assert [line for line in lines if "logger" not in line] == []
    for line in lost + logged:
        assert (line["step"], line["order_id"], line["event_id"]) == (step, str(poisonous.id), str(poison.id))
        assert line["task_id"] == task_id(queue, poison)
    row = with_step_harness(life, lambda harness: harness.inbox_row(queue, poison))
    assert (row["state"], row["reason"], row["generation"]) == ("dead", "killed_worker", 1)


def test_an_error_that_escapes_a_step_is_counted_logged_as_its_own_and_in_the_dead_letter_queue(
    settings: Settings, database_url: str, amqp_url: str, tmp_path: Path
) -> None:
    changes = {"database_url": database_url, "amqp_url": amqp_url, "worker_http_port": free_port()}
    life = settings.model_copy(update=changes)
    apply_topology(life)
    order, event = with_step_harness(life, lambda harness: harness.synced())
    breaks = {"POISON": "nobody", "BREAKS": str(order.id)}
    with Queues.of(amqp_url) as queues, worker("email", life, tmp_path, entry=POISONED, **breaks) as started:
        wait_until_it_consumes(started, queues, "email")
        queues.publish_event("email", event)
        queues.wait_for("email.dlq", 1)
        labels = {"step": "send_confirmation_email", "outcome": "dead"}
        port = life.worker_http_port
        started.wait_until(lambda: metric(port, "waybill_deliveries_total", **labels) == 1, "its word")
        (broke,) = [line for line in started.lines() if line["event"] == "step_broke"]
        assert started.stop() == 0
    assert (broke["order_id"], broke["event_id"]) == (str(order.id), str(event.id))
    assert "RuntimeError: not written" in broke["exception"]
    assert "Zoe" not in started.log.read_text()
