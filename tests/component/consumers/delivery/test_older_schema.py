"""A worker that finds an older schema than its own waits for the migration."""

import asyncio

import pytest
from structlog.testing import capture_logs

from consumers.delivery.result import DeliveryResult
from runtime.settings import Settings
from tests.support.builders.step_doubles import Acting
from tests.support.builders.step_harness import step_harness

STEP = "send_confirmation_email"


@pytest.mark.parametrize(
    ("older", "migrated"),
    [
        ("ALTER TABLE order_attempts RENAME TO hidden", "ALTER TABLE hidden RENAME TO order_attempts"),
        ("ALTER TABLE order_attempts RENAME worker TO w", "ALTER TABLE order_attempts RENAME w TO worker"),
    ],
)
async def test_a_worker_that_is_started_before_the_migration_waits_for_it_and_spends_no_attempt(
    database_url: str, settings: Settings, older: str, migrated: str
) -> None:
    async with step_harness(settings.model_copy(update={"database_url": database_url})) as harness:
        order = await harness.place_order()
        placed = await harness.event(order, "order.placed")
        await harness.sql(older)
        with capture_logs() as reported:
            delivery = asyncio.create_task(harness.runner(STEP, Acting(waits=False)).deliver(placed))
            while not reported and not delivery.done():  # noqa: ASYNC110 - a log line sends no signal
                await asyncio.sleep(0.005)
            await harness.sql(migrated)
            assert await delivery is DeliveryResult.DONE
        assert {(line["event"], line["remedy"]) for line in reported} == {("schema_missing", "waybill migrate")}
        assert (await harness.inbox_row("email", placed))["generation"] == 1
        assert (await harness.shown(order, STEP))["state"] == "done"
