"""A step fails for good, its dead letter is replayed, fails again for all to see, and then goes through: nothing by hand.

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
from tests.support.builders.step_harness import Workshop, in_workshop
from tests.support.probes.dead_letter_queues import Morgue
from tests.support.processes.collector import collector
from tests.support.processes.relay import relay
from tests.support.processes.worker import Worker, wait_until_it_consumes, worker
from tests.support.servers.databases import ROOT


@dataclass(frozen=True)
class House:
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

    def look(self, question: Callable[[Workshop], Any]) -> Any:
        """Ask the database."""
        return in_workshop(self.settings, question)


@pytest.fixture
def house(morgue: Morgue, tmp_path: Path) -> Iterator[House]:
    settings = morgue.settings.model_copy(
        update={"documents_dir": tmp_path / "documents", "retry_base_seconds": 0.01, "database_pool_size": 3}
    )
    settings.documents_dir.write_text("in the way")
    with (
        relay(settings.database_url, settings.amqp_url, tmp_path),
        worker("invoice", settings, tmp_path) as started,
        collector(settings.database_url, settings.amqp_url, tmp_path),
    ):
        wait_until_it_consumes(started, morgue.queues, "invoice")
        yield House(settings, started)


def test_a_dead_letter_is_replayed_dies_again_and_is_replayed_with_success(house: House) -> None:
    async def synced(shop: Workshop) -> Order:
        return (await shop.synced())[0]

    async def state(shop: Workshop) -> str:
        rows = await shop.sql("SELECT state FROM outbox.deliveries WHERE consumer = 'invoice'")
        return ",".join(row["state"] for row in rows)

    order = house.look(synced)
    first = house.open_dead_letter()
    assert (first["queue"], first["order"], first["replay_count"]) == ("invoice", str(order.id), 0)

    assert house.waybill("replay", "--id", str(first["id"]), "--why", "perhaps it is well now")["replayed"] == 1
    again = house.open_dead_letter()
    assert again["id"] != first["id"]
    assert again["event_id"] == first["event_id"]
    assert (again["fingerprint"], again["replay_count"]) == (first["fingerprint"], 1)
    (group,) = house.waybill("groups")
    assert (group["dead_letters"], group["replay_count"]) == (1, 1)

    house.settings.documents_dir.unlink()
    plan = house.waybill("replay", "--all", "--dry-run")
    assert plan["orders"] == [{"order": str(order.id), "number": order.number}]
    assert house.waybill("replay", "--all", "--why", "the folder is there")["replayed"] == 1
    house.worker.wait_until(lambda: house.look(state) == "done", "the invoice")
    assert house.waybill("list") == []
    number = house.look(lambda shop: shop.order(order.id)).invoice_number
    assert (house.settings.documents_dir / f"invoices/{number}.pdf").exists()


def test_a_replay_of_what_is_done_already_is_acknowledged_as_a_duplicate(house: House, morgue: Morgue) -> None:
    async def synced(shop: Workshop) -> Order:
        return (await shop.synced())[0]

    async def done_by_another(shop: Workshop) -> None:
        await shop.sql("UPDATE outbox.deliveries SET state = 'done' WHERE consumer = 'invoice'")

    async def invoices(shop: Workshop) -> int:
        return int(await shop.value("SELECT count(*) FROM invoices WHERE document IS NOT NULL"))

    async def published(shop: Workshop) -> bool:
        return bool(
            await shop.value("SELECT (SELECT max(last_id) FROM outbox.pages) >= (SELECT max(id) FROM outbox.events)")
        )

    house.look(synced)
    house.open_dead_letter()
    house.look(done_by_another)
    plan = house.waybill("replay", "--all", "--dry-run")
    assert plan["effects_done_already"] == 1
    assert house.waybill("replay", "--all")["replayed"] == 1
    house.worker.wait_until(lambda: house.look(published), "a cursor that has passed the replay")
    morgue.queues.wait_for("invoice", 0)
    assert house.worker.stop() == 0  # it ends what it has begun, and what it only holds goes back
    assert [morgue.queues.depth(queue) for queue in ("invoice", "invoice.dlq")] == [0, 0]
    assert house.look(invoices) == 0
    assert house.waybill("list") == []
