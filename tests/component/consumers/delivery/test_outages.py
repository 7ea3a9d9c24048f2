"""An outage of the other side is not an attempt: the worker stops consuming, and continues by itself."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from consumers.delivery.error_kinds import StepError
from consumers.delivery.result import DeliveryResult
from orders.model import Order
from orders.workflow import ErrorKind
from outbox.envelope import Event
from runtime.settings import Settings
from tests.support.builders.step_doubles import Acting
from tests.support.builders.step_harness import StepHarness, again, step_harness
from tests.support.processes.sandboxes import Sap

SAP_STEP, EMAIL_STEP = "sync_order_to_sap", "send_confirmation_email"


class Unreachable(Acting):
    """Fails each time; `other_side_is_away` answers its probe."""

    def __init__(self) -> None:
        super().__init__(waits=False)
        self.error: Exception | None = StepError("nobody is there", 3.0, kind=ErrorKind.CONNECTION)
        self.other_side_is_away = True

    async def perform(self, *arguments: Any) -> dict[str, Any]:
        journal = await super().perform(*arguments)
        if self.error is not None:
            raise self.error
        return journal

    async def is_away(self) -> bool:
        return self.other_side_is_away


async def test_an_outage_is_no_attempt_however_long_it_lasts(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, placed = await _placed(harness)
        double = Unreachable()
        runner = harness.runner(EMAIL_STEP, double)
        delivery = placed
        for number in range(1, 21):
            before = datetime.now(UTC)
            assert await runner.deliver(delivery) is DeliveryResult.AWAY
            after = datetime.now(UTC)
            waiting = max(await harness.scheduled(placed), key=lambda scheduled: scheduled.event.generation)
            assert waiting.event == again(placed, number + 1)
            # What the step asked for, and up to its base of 4 s: the wait does not grow.
            assert before + timedelta(seconds=3) <= waiting.due_at <= after + timedelta(seconds=3 + 4)
            assert await runner.deliver(delivery) is DeliveryResult.STALE
            delivery = waiting.event
        shown = await harness.shown(order, EMAIL_STEP)
        assert (shown["state"], shown["attempt"]) == ("retrying", 1)
        assert shown["error"] == "StepError: nobody is there"
        double.other_side_is_away = False
        for _ in range(5):
            assert await runner.deliver(delivery) is DeliveryResult.RETRIED
            delivery = again(delivery, delivery.generation + 1)
        assert (await harness.shown(order, EMAIL_STEP))["attempt"] == 5
        assert await runner.deliver(delivery) is DeliveryResult.DEAD
        assert (await harness.inbox_row("email", placed))["reason"] == "retries_exhausted"


async def test_a_hopeless_delivery_is_dead_lettered_without_a_probe_of_the_other_side(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        _, placed = await _placed(harness)
        double = Unreachable()
        double.error = StepError("nonsense", kind=ErrorKind.BAD_DATA)
        assert await harness.runner(EMAIL_STEP, double).deliver(placed) is DeliveryResult.DEAD


async def test_sap_that_refuses_everybody_is_away_and_sap_that_fails_one_order_is_not(
    settings: Settings, sap: Sap
) -> None:
    async with step_harness(settings) as harness:
        order, reserved = await harness.reserved()
        sap.faults(error_rate=1)
        assert await harness.deliver(SAP_STEP, reserved) is DeliveryResult.RETRIED
        sap.faults(error_rate=0, outage=True)
        assert await harness.deliver(SAP_STEP, again(reserved, 2)) is DeliveryResult.AWAY
        assert (await harness.shown(order, SAP_STEP))["attempt"] == 2
        sap.faults(outage=False)
        async with step_harness(settings.model_copy(update={"sap_password": SecretStr("expired")})) as locked_out:
            assert await locked_out.deliver(SAP_STEP, again(reserved, 3)) is DeliveryResult.AWAY
        assert await harness.deliver(SAP_STEP, again(reserved, 4)) is DeliveryResult.DONE
        assert len(sap.order(order.number)["documents"]) == 1


async def test_a_probe_that_breaks_says_nothing(settings: Settings) -> None:
    class Broken(Unreachable):
        async def is_away(self) -> bool:
            raise RuntimeError("the probe is broken")

    async with step_harness(settings) as harness:
        _, placed = await _placed(harness)
        assert await harness.runner(EMAIL_STEP, Broken()).deliver(placed) is DeliveryResult.RETRIED


async def test_a_mail_server_that_is_gone_is_away(settings: Settings) -> None:
    async with step_harness(settings.model_copy(update={"smtp_port": 1})) as harness:
        _, synced = await harness.synced()
        assert await harness.deliver(EMAIL_STEP, synced) is DeliveryResult.AWAY


async def _placed(harness: StepHarness) -> tuple[Order, Event]:
    order = await harness.place_order()
    return order, await harness.event(order, "order.placed")
