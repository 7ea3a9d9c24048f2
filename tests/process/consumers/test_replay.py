"""A dead letter is replayed, fails again visibly, is replayed again and then goes through: nothing by hand.

Real relay, worker and collector; the dead letter is sent again by the command line.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orders.model import Order
from runtime.settings import Settings
from tests.support.builders.step_harness import StepHarness, with_step_harness
from tests.support.paths import ROOT
from tests.support.probes.collector_harness import CollectorHarness
from tests.support.processes.collector import collector
from tests.support.processes.relay import relay
from tests.support.processes.worker import Worker, wait_until_it_consumes, worker


@dataclass(frozen=True)
class InvoiceSystem:
    """Everything that an order in its invoice step needs, and a folder for invoices that is none."""

    settings: Settings
    worker: Worker

    def waybill(self, *words: str) -> Any:
        """The JSON of `waybill dead-letters WORDS`."""
        result = subprocess.run(
            [sys.executable, "-m", "ops.cli", "dead-letters", *words, "--json"],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": self.settings.database_url, "AMQP_URL": self.settings.amqp_url},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def open_dead_letter(self) -> dict[str, Any]:
        """The one dead letter that is open, once there is one."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = self.waybill("list")
            return bool(found)

        self.worker.wait_until(there, "an open dead letter")
        (dead_letter,) = found
        return dead_letter

    def ask(self, question: Callable[[StepHarness], Any]) -> Any:
        """Ask the database."""
        return with_step_harness(self.settings, question)


@pytest.fixture
def invoice_system(collector_harness: CollectorHarness, tmp_path: Path) -> Iterator[InvoiceSystem]:
    settings = collector_harness.settings.model_copy(
        update={"documents_dir": tmp_path / "documents", "retry_base_seconds": 0.01, "database_pool_size": 3}
    )
    settings.documents_dir.write_text("in the way")
    with (
        relay(settings.database_url, settings.amqp_url, tmp_path),
        worker("invoice", settings, tmp_path) as started,
        collector(settings.database_url, settings.amqp_url, tmp_path),
    ):
        wait_until_it_consumes(started, collector_harness.queues, "invoice")
        yield InvoiceSystem(settings, started)


def test_a_dead_letter_is_replayed_dies_again_and_is_replayed_with_success(invoice_system: InvoiceSystem) -> None:
    async def synced(harness: StepHarness) -> Order:
        return (await harness.synced())[0]

    async def state(harness: StepHarness) -> str:
        rows = await harness.sql("SELECT state FROM outbox.deliveries WHERE consumer = 'invoice'")
        return ",".join(row["state"] for row in rows)

    order = invoice_system.ask(synced)
    first = invoice_system.open_dead_letter()
    assert (first["queue"], first["order"], first["replay_count"]) == ("invoice", str(order.id), 0)

    assert (
        invoice_system.waybill("replay", "--id", str(first["id"]), "--why", "perhaps it is well now")["replayed"] == 1
    )
    again = invoice_system.open_dead_letter()
    assert again["id"] != first["id"]
    assert again["event_id"] == first["event_id"]
    assert (again["fingerprint"], again["replay_count"]) == (first["fingerprint"], 1)
    (group,) = invoice_system.waybill("groups")
    assert (group["dead_letters"], group["replay_count"]) == (1, 1)

    invoice_system.settings.documents_dir.unlink()
    plan = invoice_system.waybill("replay", "--all", "--dry-run")
    assert plan["orders"] == [{"order": str(order.id), "number": order.number}]
    assert invoice_system.waybill("replay", "--all", "--why", "the folder is there")["replayed"] == 1
    invoice_system.worker.wait_until(lambda: invoice_system.ask(state) == "done", "the invoice")
    assert invoice_system.waybill("list") == []
    number = invoice_system.ask(lambda harness: harness.order(order.id)).invoice_number
    assert (invoice_system.settings.documents_dir / f"invoices/{number}.pdf").exists()


def test_a_replay_of_what_is_done_already_is_acknowledged_as_a_duplicate(
    invoice_system: InvoiceSystem, collector_harness: CollectorHarness
) -> None:
    async def synced(harness: StepHarness) -> Order:
        return (await harness.synced())[0]

    async def done_by_another(harness: StepHarness) -> None:
        await harness.sql("UPDATE outbox.deliveries SET state = 'done' WHERE consumer = 'invoice'")

    async def invoices(harness: StepHarness) -> int:
        return int(await harness.value("SELECT count(*) FROM invoices WHERE document IS NOT NULL"))

    async def published(harness: StepHarness) -> bool:
        return bool(
            await harness.value("SELECT (SELECT max(last_id) FROM outbox.pages) >= (SELECT max(id) FROM outbox.events)")
        )

    invoice_system.ask(synced)
    invoice_system.open_dead_letter()
    invoice_system.ask(done_by_another)
    plan = invoice_system.waybill("replay", "--all", "--dry-run")
    assert plan["effects_done_already"] == 1
    assert invoice_system.waybill("replay", "--all")["replayed"] == 1
    invoice_system.worker.wait_until(lambda: invoice_system.ask(published), "a cursor that has passed the replay")
    collector_harness.queues.wait_for("invoice", 0)
    assert invoice_system.worker.stop() == 0  # it ends what it has begun, and what it only holds goes back
    assert [collector_harness.queues.depth(queue) for queue in ("invoice", "invoice.dlq")] == [0, 0]
    assert invoice_system.ask(invoices) == 0
    assert invoice_system.waybill("list") == []
