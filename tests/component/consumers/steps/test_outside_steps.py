"""SAP, e-mail and invoice: one effect in the outside world, also when an answer or a commit is lost on the way."""

import asyncio
import email
import email.policy
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.delivery import Delivery
from consumers.delivery.result import DeliveryResult
from consumers.delivery.step_kinds import OutsideStep, StepKind
from lab.demo.pdf_text import pdf_text
from orders.model import Customer, Status
from runtime.document_store import document_store
from runtime.settings import Settings
from tests.support.builders.step_harness import CUSTOMER, StepHarness, step_harness
from tests.support.processes.sandboxes import Sap, Smtp


class ConcludesAtTheSecond(OutsideStep):
    """A real step whose first `conclude` fails; counts what it performs."""

    def __init__(self, real: StepKind) -> None:
        assert isinstance(real, OutsideStep)
        self.real, self.performed, self.concluded = real, 0, 0

    async def prepare(self, delivery: Delivery, tx: AsyncConnection) -> Any:
        return await self.real.prepare(delivery, tx)

    async def perform(self, delivery: Delivery, prepared: Any) -> dict[str, Any]:
        self.performed += 1
        return await self.real.perform(delivery, prepared)

    async def conclude(self, delivery: Delivery, tx: AsyncConnection, journal: Mapping[str, Any]) -> None:
        self.concluded += 1
        if self.concluded == 1:
            raise RuntimeError("the ink is dry")
        await self.real.conclude(delivery, tx, journal)


@pytest.fixture
def customer() -> Customer:
    """A customer with an address of its own."""
    return replace(CUSTOMER, email=f"{uuid4().hex}@customers.example")


# SAP


async def test_an_order_becomes_one_document_whose_number_is_kept(settings: Settings, sap: Sap) -> None:
    async with step_harness(settings) as harness:
        order, reserved = await harness.reserved()
        assert await harness.deliver("sync_order_to_sap", reserved) is DeliveryResult.DONE
        assert await harness.deliver("sync_order_to_sap", reserved) is DeliveryResult.DUPLICATE
        synced = await harness.order(order.id)
        booked = sap.order(order.number)
        assert booked["documents"] == [synced.sap_document]
        assert booked["net_total"] == str(order.net_total)
        assert synced.status is Status.SYNCED
        assert len(await harness.events(order, "order.synced")) == 1
        row = await harness.inbox_row("sap", reserved)
        assert row["journal"] == {"sap_document": synced.sap_document, "net_amount": str(order.net_total)}


async def test_a_lost_answer_waits_out_the_commit_and_then_finds_the_document(settings: Settings, sap: Sap) -> None:
    async with step_harness(settings) as harness:
        order, reserved = await harness.reserved()
        sap.faults(lost_rate=1)
        before = datetime.now(UTC)
        assert await harness.deliver("sync_order_to_sap", reserved) is DeliveryResult.RETRIED
        (waiting,) = await harness.scheduled(reserved)
        assert (waiting.due_at - before).total_seconds() >= settings.sap_commit_seconds
        assert (waiting.destination, waiting.event.generation) == ("sap", 2)
        # Faults stay on: a second POST would be lost again, and the step would not end.
        assert await harness.deliver("sync_order_to_sap", waiting.event) is DeliveryResult.DONE
        booked = sap.order(order.number)
        assert (len(booked["documents"]), booked["posts"]) == (1, 1)
        assert (await harness.order(order.id)).sap_document == booked["documents"][0]


async def test_an_error_of_sap_is_tried_again_with_back_off_and_makes_one_document(
    settings: Settings, sap: Sap
) -> None:
    async with step_harness(settings) as harness:
        order, reserved = await harness.reserved()
        sap.faults(error_rate=1)
        assert await harness.deliver("sync_order_to_sap", reserved) is DeliveryResult.RETRIED
        assert sap.order(order.number)["documents"] == []
        shown = await harness.shown(order, "sync_order_to_sap")
        assert (shown["state"], shown["attempt"]) == ("retrying", 1)
        assert "SAP answered 50" in shown["error"]
        sap.faults(error_rate=0)
        (waiting,) = await harness.scheduled(reserved)
        assert shown["next_attempt_at"] == waiting.due_at
        assert await harness.deliver("sync_order_to_sap", waiting.event) is DeliveryResult.DONE
        assert len(sap.order(order.number)["documents"]) == 1
        shown = await harness.shown(order, "sync_order_to_sap")
        assert (shown["state"], shown["error"], shown["next_attempt_at"]) == ("done", None, None)


async def test_sap_is_asked_again_no_sooner_than_its_answer_asks(settings: Settings, sap: Sap) -> None:
    async with step_harness(settings) as harness:
        _, reserved = await harness.reserved()
        sap.faults(outage=True, retry_after_seconds=90)
        before = datetime.now(UTC)
        assert await harness.deliver("sync_order_to_sap", reserved) is DeliveryResult.AWAY
        (waiting,) = await harness.scheduled(reserved)
        assert (waiting.due_at - before).total_seconds() >= 90


async def test_a_document_that_a_restored_inbox_knows_nothing_of_is_found_and_not_made_again(
    settings: Settings, sap: Sap
) -> None:
    async with step_harness(settings) as harness:
        order, reserved = await harness.reserved()
        assert await harness.deliver("sync_order_to_sap", reserved) is DeliveryResult.DONE
        await harness.sql("UPDATE orders SET status = 'reserved', sap_document = NULL WHERE id = :id", id=order.id)
        await harness.sql("DELETE FROM outbox.deliveries WHERE event_id = :id", id=reserved.id)
        assert await harness.deliver("sync_order_to_sap", reserved) is DeliveryResult.DONE
        booked = sap.order(order.number)
        assert (len(booked["documents"]), booked["posts"]) == (1, 1)
        assert (await harness.order(order.id)).sap_document == booked["documents"][0]


async def test_a_replay_may_not_come_before_the_post_of_the_last_attempt_is_over_in_sap(
    settings: Settings, sap: Sap
) -> None:
    async with step_harness(settings.model_copy(update={"sap_timeout_seconds": 2})) as harness:
        order, reserved = await harness.reserved()
        sap.faults(timeout_rate=1)
        await harness.deliver("sync_order_to_sap", reserved)
        await harness.sql("UPDATE outbox.deliveries SET generation = 5 WHERE event_id = :id", id=reserved.id)
        before = datetime.now(UTC)
        assert await harness.deliver("sync_order_to_sap", replace(reserved, generation=5)) is DeliveryResult.DEAD
        row = await harness.inbox_row("sap", reserved)
        assert (row["state"], row["reason"]) == ("dead", "retries_exhausted")
        assert (row["due_at"] - before).total_seconds() >= settings.sap_commit_seconds
        assert (await harness.shown(order, "sync_order_to_sap"))["next_attempt_at"] is None


async def test_a_document_with_another_net_amount_is_never_accepted(settings: Settings, sap: Sap) -> None:
    """The order's own total is wrong in the store: SAP computes for itself, so a person must look."""

    async with step_harness(settings) as harness:
        order, reserved = await harness.reserved()
        assert await harness.deliver("sync_order_to_sap", reserved) is DeliveryResult.DONE
        (number,) = sap.order(order.number)["documents"]
        await harness.sql("UPDATE order_lines SET quantity = quantity + 1 WHERE order_id = :id", id=order.id)
        await harness.sql("UPDATE orders SET status = 'reserved', sap_document = NULL WHERE id = :id", id=order.id)
        await harness.sql("DELETE FROM outbox.deliveries WHERE event_id = :id", id=reserved.id)

        assert await harness.deliver("sync_order_to_sap", replace(reserved, generation=2)) is DeliveryResult.DEAD
        error = (await harness.inbox_row("sap", reserved))["error"]
        assert error == f"SAP document {number} of order {order.number} says 26.60 USD, the order 39.90 USD"
        assert sap.order(order.number)["documents"] == [number]
        assert (await harness.order(order.id)).status is Status.RESERVED


async def test_a_document_is_not_made_again_when_only_writing_it_down_failed(settings: Settings, sap: Sap) -> None:
    async with step_harness(settings) as harness:
        order, reserved = await harness.reserved()
        double = ConcludesAtTheSecond(harness.step("sync_order_to_sap"))
        runner = harness.runner("sync_order_to_sap", double)
        assert await runner.deliver(reserved) is DeliveryResult.RETRIED
        (waiting,) = await harness.scheduled(reserved)
        assert await runner.deliver(waiting.event) is DeliveryResult.DONE
        assert double.performed == 1
        assert sap.order(order.number)["posts"] == 1
        assert (await harness.order(order.id)).sap_document == sap.order(order.number)["documents"][0]


# e-mail


def _emails(inbox: Smtp, customer: Customer) -> list[email.message.EmailMessage]:
    paths = [inbox.folder / message["file"] for message in inbox.messages_to(customer.email)]
    return [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in paths]


def _text(email: email.message.EmailMessage) -> str:
    body = email.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


async def test_a_synced_order_is_confirmed_under_the_events_message_id(
    settings: Settings, inbox: Smtp, customer: Customer
) -> None:
    async with step_harness(settings) as harness:
        order, synced = await harness.synced(customer=customer)
        assert await harness.deliver("send_confirmation_email", synced) is DeliveryResult.DONE
        assert await harness.deliver("send_confirmation_email", synced) is DeliveryResult.DUPLICATE
        (email,) = _emails(inbox, customer)
        assert email["Message-ID"] == f"<{synced.id}@waybill.example>"
        assert order.number in email["Subject"]
        assert f"{order.net_total}" in _text(email)


async def test_the_customer_of_a_rejected_order_reads_why_and_nothing_is_joined(
    settings: Settings, inbox: Smtp, customer: Customer
) -> None:
    async with step_harness(settings) as harness:
        order, rejected = await harness.rejected(customer=customer)
        assert await harness.deliver("send_confirmation_email", rejected) is DeliveryResult.DONE
        assert await harness.deliver("send_confirmation_email", rejected) is DeliveryResult.DUPLICATE
        (email,) = _emails(inbox, customer)
        assert "not accepted" in email["Subject"]
        assert "Line 1: we have no product SKU-NOBODY-HAS." in _text(email)
        assert await harness.value("SELECT cardinality(open_joins) FROM orders WHERE id = :id", id=order.id) == 3


async def test_an_email_that_the_server_refuses_for_now_is_tried_again(
    settings: Settings, inbox: Smtp, customer: Customer
) -> None:
    async with step_harness(settings) as harness:
        _, synced = await harness.synced(customer=customer)
        inbox.refuse((customer.email, 451))
        assert await harness.deliver("send_confirmation_email", synced) is DeliveryResult.RETRIED
        assert "451" in (await harness.inbox_row("email", synced))["error"]
        inbox.refuse()
        (waiting,) = await harness.scheduled(synced)
        assert await harness.deliver("send_confirmation_email", waiting.event) is DeliveryResult.DONE
        assert len(_emails(inbox, customer)) == 1


async def test_an_email_that_the_server_refuses_for_good_is_dead_lettered_at_once_and_sent_when_replayed(
    settings: Settings, inbox: Smtp, customer: Customer
) -> None:
    async with step_harness(settings) as harness:
        _, synced = await harness.synced(customer=customer)
        inbox.refuse((customer.email, 550))
        assert await harness.deliver("send_confirmation_email", synced) is DeliveryResult.DEAD
        row = await harness.inbox_row("email", synced)
        assert (row["reason"], row["error_class"]) == ("rejected", "MailRefused")
        assert row["fingerprint"] == "MailRefused@consumers.adapters.mailer:Mailer.send"
        assert await harness.scheduled(synced) == []
        inbox.refuse()
        assert await harness.deliver("send_confirmation_email", replace(synced, generation=2)) is DeliveryResult.DONE
        assert len(_emails(inbox, customer)) == 1


async def test_an_email_is_not_sent_again_when_only_writing_it_down_failed(
    settings: Settings, inbox: Smtp, customer: Customer
) -> None:
    async with step_harness(settings) as harness:
        order, synced = await harness.synced(customer=customer)
        runner = harness.runner(
            "send_confirmation_email", ConcludesAtTheSecond(harness.step("send_confirmation_email"))
        )
        assert await runner.deliver(synced) is DeliveryResult.RETRIED
        row = await harness.inbox_row("email", synced)
        assert row["journal"] == {"message_id": f"<{synced.id}@waybill.example>", "rejected": False}
        assert "the ink is dry" in row["error"]
        (waiting,) = await harness.scheduled(synced)
        assert await runner.deliver(waiting.event) is DeliveryResult.DONE
        assert len(_emails(inbox, customer)) == 1
        assert await harness.value("SELECT cardinality(open_joins) FROM orders WHERE id = :id", id=order.id) == 2


# invoice


async def _sequences(harness: StepHarness) -> list[int]:
    return [row["sequence"] for row in await harness.sql("SELECT sequence FROM invoices ORDER BY sequence")]


async def test_an_invoice_has_a_number_and_a_pdf_that_bears_it(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, synced = await harness.synced()
        assert await harness.deliver("generate_invoice_pdf", synced) is DeliveryResult.DONE
        assert await harness.deliver("generate_invoice_pdf", synced) is DeliveryResult.DUPLICATE
        number = (await harness.order(order.id)).invoice_number
        assert number is not None
        key = await harness.value("SELECT document FROM invoices WHERE order_id = :id", id=order.id)
        assert key == f"invoices/{number}.pdf"
        pdf = await document_store(settings).get(key)
        assert pdf is not None
        text = pdf_text(pdf)
        assert number in text
        assert order.reference[:10] in text
        assert str(order.net_total) in text


async def test_a_second_attempt_keeps_the_number_of_the_first(settings: Settings, block: Callable[[], object]) -> None:
    async with step_harness(settings) as harness:
        order, synced = await harness.synced()
        block()
        assert await harness.deliver("generate_invoice_pdf", synced) is DeliveryResult.RETRIED
        assert "Not a directory" in (await harness.inbox_row("invoice", synced))["error"]
        first = (await harness.order(order.id)).invoice_number
        assert first is not None
        settings.documents_dir.unlink()
        (waiting,) = await harness.scheduled(synced)
        assert await harness.deliver("generate_invoice_pdf", waiting.event) is DeliveryResult.DONE
        assert (await harness.order(order.id)).invoice_number == first
        assert await document_store(settings).get(f"invoices/{first}.pdf") is not None


@pytest.fixture
def block(settings: Settings) -> Callable[[], object]:
    """Put a file where the document store wants its folder."""
    return lambda: settings.documents_dir.write_text("in the way")


async def test_invoice_numbers_have_no_gap_and_no_double_under_concurrency(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        before = await _sequences(harness)
        made = [await harness.synced() for _ in range(12)]
        outcomes = await asyncio.gather(*(harness.deliver("generate_invoice_pdf", event) for _, event in made))
        assert set(outcomes) == {DeliveryResult.DONE}
        after = await _sequences(harness)
        assert len(after) == len(before) + 12
        assert after == list(range(1, len(after) + 1))
