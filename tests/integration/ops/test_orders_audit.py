"""An audit finds what is missing, says where it stands, and tells what was done twice, in the places themselves."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from consumers.adapters.letters import confirmation
from consumers.adapters.sap import SalesOrderDraft, SalesOrderItem
from ops.effects import SapOverOData, SapSandbox
from ops.orders_audit import Places, Report, audit
from orders.judgement import Doubled, Effect, Missing, Orphan
from orders.ledger import Window
from orders.model import Line, Order
from orders.workflow import BY_QUEUE
from outbox.envelope import Event, new_event_id
from outbox.pages import Carried, advance
from outbox.reader import ONE_PLAN, Reader
from runtime.settings import Settings
from tests.integration.consumers.workshop import Workshop, in_workshop
from tests.sandboxes import Sap, Smtp, start_sap, start_smtp
from tests.shared_database import module_database

__all__ = ["module_database"]

ROOT = Path(__file__).parents[3]
AT_ONCE = timedelta(0)
# The step of each event on an order's way, in the order of their commits.
WAY = {
    "order.placed": ["validation"],
    "order.validated": ["inventory"],
    "inventory.reserved": ["sap"],
    "order.synced": ["email", "invoice", "analytics"],
    "order.fulfilled": ["finalization"],
    "order.completed": [],
}
LEAD = """
INSERT INTO outbox.leases (name, epoch, holder, expires_at) VALUES ('relay', 1, 'test', 'infinity')
ON CONFLICT DO NOTHING"""
LETTER = """
INSERT INTO outbox.dead_letters (letter_key, queue, event_id, type, subject, body, headers, reason, error)
VALUES (:key, :queue, :event_id, :type, :subject, '', '{}', 'rejected', 'SapRefused: no') RETURNING id"""


@pytest.fixture(scope="module")
def own_sap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sap]:
    """A SAP of this module's own: whoever else has documents in it has no order here."""
    with start_sap(tmp_path_factory.mktemp("sap")) as running:
        yield running


@pytest.fixture(scope="module")
def own_inbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smtp]:
    """A mailbox of this module's own."""
    with start_smtp(tmp_path_factory.mktemp("smtp")) as running:
        yield running


@dataclass
class House:
    """A workshop, the places of its effects, and the moment at which the test began."""

    shop: Workshop
    places: Places
    since: datetime
    documents: Path
    found_before: list[Orphan]

    async def audit(self, deadline: timedelta | None = AT_ONCE, **places: Any) -> Report:
        """Orders of this test alone, and orphans that no test before it has made."""
        window = Window(self.since, datetime.now(UTC) + timedelta(hours=1))
        report = await audit(self.shop.place.engine, replace(self.places, **places), window, deadline)
        return replace(report, orphans=[one for one in report.orphans if one not in self.found_before])

    async def go(self, order: Order, *, until: str = "order.completed") -> None:
        """Run an order's steps up to this event, which nobody hears any more."""
        for kind, queues in WAY.items():
            if kind == until:
                break
            event = await self.shop.event(order, kind)
            for queue in queues:
                await self.shop.deliver(BY_QUEUE[queue].name, event)

    async def record_audit(self, order: Order) -> None:
        """What was recorded for an order goes into the audit log."""
        for kind in (*WAY, "order.rejected"):
            for event in await self.shop.events(order, kind):
                await self.shop.deliver("record_audit", event)

    async def completed(self) -> Order:
        order = await self.shop.place_order()
        await self.go(order)
        await self.record_audit(order)
        return await self.shop.order(order.id)

    async def read_outbox(self) -> None:
        """As the relay does it: read everything that is committed and move the cursor past it."""
        url = self.shop.place.settings.database_url
        connection = await asyncpg.connect(url, server_settings=ONE_PLAN)
        try:
            await connection.execute(LEAD)
            reader = Reader(connection, 1000)
            await reader.resume()
            while (page := await reader.next_page()) is not None:
                await advance(connection, 1, [Carried(page, datetime.now(UTC), datetime.now(UTC))])
        finally:
            await connection.close()


Scenario = Callable[[House], Awaitable[None]]


@pytest.fixture
def audited(module_database: str, own_sap: Sap, own_inbox: Smtp, tmp_path: Path) -> Callable[[Scenario], None]:
    """Runs a scenario in a house whose places are all looked into."""
    own_sap.faults(outage=False)
    settings = Settings(
        database_url=module_database,
        amqp_url="amqp://guest:guest@127.0.0.1:1/",
        sap_url=own_sap.url,
        smtp_port=own_inbox.port,
        documents_dir=tmp_path,
        sap_timeout_seconds=2,
        sap_commit_seconds=0,
        sap_retry_base_seconds=4,
    )

    def run(scenario: Scenario) -> None:
        async def work(shop: Workshop) -> None:
            places = Places(SapSandbox(own_sap.url), own_inbox.url, shop.place.documents)
            house = House(shop, places, datetime.now(UTC), tmp_path, [])
            house.found_before.extend((await house.audit()).orphans)
            await scenario(house)

        in_workshop(settings, work)

    return run


def wrong(report: Report) -> list[tuple[Effect, bool]]:
    return [(one.effect, one.overdue) for one in report.missing]


def test_a_completed_order_whose_effects_are_all_there_once_is_clean(audited: Callable[[Scenario], None]) -> None:
    async def scenario(house: House) -> None:
        await house.completed()
        report = await house.audit()
        assert (report.orders, report.statuses) == (1, {"completed": 1})
        assert (report.missing, report.doubled, report.orphans) == ([], [], [])
        assert (report.resent, report.invoice_gaps, report.audit_missing, report.audit_extra) == (0, 0, 0, 0)
        assert report.clean

    audited(scenario)


def test_a_rejected_order_owes_the_letter_that_says_so_and_nothing_else(audited: Callable[[Scenario], None]) -> None:
    async def scenario(house: House) -> None:
        order, event = await house.shop.rejected()
        await house.record_audit(order)
        report = await house.audit()
        assert wrong(report) == [(Effect.EMAIL, True)]
        assert report.missing[0].stands == "not begun: its event waits in the outbox"
        await house.shop.deliver("send_confirmation_email", event)
        assert (await house.audit()).clean

    audited(scenario)


def test_an_order_that_waits_says_where_and_is_overdue_only_after_its_deadline(
    audited: Callable[[Scenario], None], own_sap: Sap
) -> None:
    async def scenario(house: House) -> None:
        order = await house.shop.place_order()
        await house.go(order, until="inventory.reserved")
        own_sap.faults(outage=True)
        await house.shop.deliver("sync_order_to_sap", await house.shop.event(order, "inventory.reserved"))
        own_sap.faults(outage=False)
        report = await house.audit(deadline=None)
        assert wrong(report) == [(effect, False) for effect in Effect if effect is not Effect.STOCK]
        stands = {one.effect: one.stands for one in report.missing}
        shown = await house.shop.shown(order, "sync_order_to_sap")
        assert stands[Effect.SAP].startswith(f"waiting in sap, attempt {shown['attempt']}, next try ")
        assert "last error Sap" in stands[Effect.SAP] or "last error StepError" in stands[Effect.SAP]
        assert stands[Effect.EMAIL] == f"waits for sap: {stands[Effect.SAP]}"
        assert report.clean
        late = await house.audit(timedelta(0))
        assert all(one.overdue for one in late.missing)
        assert not late.clean

    audited(scenario)


def test_an_event_that_the_relay_has_not_passed_is_told_from_one_that_is_in_its_queue(
    audited: Callable[[Scenario], None],
) -> None:
    async def scenario(house: House) -> None:
        await house.shop.place_order()
        before = (await house.audit()).missing[0]
        await house.read_outbox()
        after = (await house.audit()).missing[0]
        assert before.stands == "waits for validation: not begun: its event waits in the outbox"
        assert after.stands == "waits for validation: not begun: its event is in queue validation"

    audited(scenario)


def test_what_was_given_up_names_its_dead_letter(audited: Callable[[Scenario], None]) -> None:
    async def scenario(house: House) -> None:
        order = await house.shop.place_order()
        event = await house.shop.event(order, "order.placed")
        number = await house.shop.value(
            LETTER, key=uuid4().hex, queue="validation", event_id=event.id, type=event.type, subject=str(order.id)
        )
        stands = (await house.audit()).missing[0].stands
        expected = f"given up: dead letter {number} in validation (rejected), last error SapRefused: no"
        assert stands == f"waits for validation: {expected}"

    audited(scenario)


def test_a_second_document_in_sap_is_done_twice(audited: Callable[[Scenario], None]) -> None:
    async def scenario(house: House) -> None:
        order = await house.completed()
        second = await house.shop.place.sap.create(draft(order))
        (doubled,) = (await house.audit()).doubled
        assert doubled == Doubled(
            order.number, Effect.SAP, f"document {order.sap_document} and document {second.number}"
        )
        over_odata = await house.audit(sap=SapOverOData(house.shop.place.settings))
        assert over_odata.doubled == [doubled]

    audited(scenario)


def test_a_document_in_sap_without_an_order_is_an_orphan(audited: Callable[[Scenario], None]) -> None:
    async def scenario(house: House) -> None:
        order = await house.completed()
        stranger = await house.shop.place.sap.create(replace(draft(order), order_id=uuid4(), order_number="WB-NONE"))
        report = await house.audit()
        assert [(one.effect, one.what) for one in report.orphans] == [
            ("sap", f"document {stranger.number} for order 'WB-NONE'")
        ]
        assert not report.clean
        # Whoever asks order by order cannot come across it.
        assert (await house.audit(sap=SapOverOData(house.shop.place.settings))).clean

    audited(scenario)


def test_a_document_that_we_know_of_and_sap_does_not_is_missing_at_once(audited: Callable[[Scenario], None]) -> None:
    async def scenario(house: House) -> None:
        order = await house.shop.place_order()
        await house.go(order, until="inventory.reserved")
        house.places = replace(house.places, sap=SapOverOData(house.shop.place.settings))
        await house.shop.sql("UPDATE orders SET status = 'completed', sap_document = '1' WHERE id = :id", id=order.id)
        found = [one for one in (await house.audit(deadline=None)).missing if one.effect is Effect.SAP]
        said = "sap says it is done, and it is not there: document 1"
        assert found == [Missing(order.number, Effect.SAP, said, overdue=True)]

    audited(scenario)


def test_while_sap_does_not_answer_our_own_word_is_taken_and_the_report_says_so(
    audited: Callable[[Scenario], None], own_sap: Sap
) -> None:
    async def scenario(house: House) -> None:
        await house.completed()
        own_sap.faults(outage=True)
        report = await house.audit(sap=SapOverOData(house.shop.place.settings))
        own_sap.faults(outage=False)
        assert (report.missing, list(report.not_seen)) == ([], ["sap"])
        assert not report.clean

    audited(scenario)


def test_the_same_letter_again_is_resent_and_another_one_is_done_twice(audited: Callable[[Scenario], None]) -> None:
    async def scenario(house: House) -> None:
        order = await house.completed()
        event = await house.shop.event(order, "order.synced")
        await send(house, order, event)
        report = await house.audit()
        assert (report.resent, report.doubled, report.clean) == (1, [], True)
        other = replace(event, id=new_event_id())
        await house.shop.deliver("send_confirmation_email", other)
        (doubled,) = (await house.audit()).doubled
        assert (doubled.order, doubled.effect) == (order.number, Effect.EMAIL)
        assert {f"letter {event.id}", f"letter {other.id}"} == set(doubled.what.split(" and "))
        # Without a view of the mailbox the inbox's word is taken, which cannot tell a second copy.
        blind = await house.audit(mail_view=None)
        assert (blind.resent, [one.order for one in blind.doubled]) == (0, [order.number])

    audited(scenario)


def test_a_letter_that_no_event_of_ours_explains_is_an_orphan(audited: Callable[[Scenario], None]) -> None:
    async def scenario(house: House) -> None:
        order = await house.completed()
        stranger = replace(await house.shop.event(order, "order.synced"), id=new_event_id())
        await send(house, order, stranger)
        assert [(one.effect, one.what) for one in (await house.audit()).orphans] == [("email", f"letter {stranger.id}")]

    audited(scenario)


def test_an_invoice_whose_pdf_is_gone_or_is_none_is_missing(audited: Callable[[Scenario], None]) -> None:
    async def scenario(house: House) -> None:
        order = await house.completed()
        (pdf,) = house.documents.rglob("*.pdf")
        pdf.write_bytes(b"")
        report = await house.audit()
        assert wrong(report) == [(Effect.INVOICE, True)]
        assert report.missing[0].stands.endswith(f"it is not there: invoices/{order.invoice_number}.pdf")
        pdf.unlink()
        assert wrong(await house.audit()) == [(Effect.INVOICE, True)]

    audited(scenario)


def test_units_that_an_order_lacks_has_too_many_of_or_should_not_have(audited: Callable[[Scenario], None]) -> None:
    async def scenario(house: House) -> None:
        order = await house.completed()
        change = "UPDATE reservations SET quantity = :units WHERE order_id = :id"
        await house.shop.sql(change, units=1, id=order.id)
        assert wrong(await house.audit()) == [(Effect.STOCK, True)]
        await house.shop.sql(change, units=4, id=order.id)
        sku = order.lines[0].sku
        assert (await house.audit()).doubled == [Doubled(order.number, Effect.STOCK, f"4 units of {sku}, 2 ordered")]
        rejected, event = await house.shop.rejected()
        await house.shop.deliver("send_confirmation_email", event)
        await house.shop.sql(
            "UPDATE reservations SET order_id = :other WHERE order_id = :id", other=rejected.id, id=order.id
        )
        orphans = (await house.audit()).orphans
        assert [one.what for one in orphans] == [f"4 units of {sku} of {rejected.number}, which is rejected"]

    audited(scenario)


def test_stock_is_conserved_or_told(audited: Callable[[Scenario], None]) -> None:
    async def scenario(house: House) -> None:
        sku = await house.shop.product(10)
        await house.go(await house.shop.place_order(Line(sku, 2, Decimal(14))), until="inventory.reserved")
        assert (await house.audit(initial_stock={sku: 10})).stock_wrong == []
        await house.shop.sql("UPDATE products SET available = available - 1 WHERE sku = :sku", sku=sku)
        (found,) = (await house.audit(initial_stock={sku: 10})).stock_wrong
        assert (found.sku, found.available, found.reserved) == (sku, 7, 2)

    audited(scenario)


def test_sales_that_were_counted_twice_or_not_at_all_do_not_agree(audited: Callable[[Scenario], None]) -> None:
    async def scenario(house: House) -> None:
        order = await house.completed()
        sku = order.lines[0].sku
        change = "UPDATE sales_by_day SET units = units + :more WHERE sku = :sku"
        await house.shop.sql(change, more=2, sku=sku)
        (found,) = (await house.audit()).sales_wrong
        assert (found.sku, found.units, found.due_units) == (sku, 4, 2)
        await house.shop.sql(change, more=-2, sku=sku)
        counted = "UPDATE outbox.deliveries SET consumer = :name WHERE subject = :id AND consumer LIKE '%analytics'"
        await house.shop.sql(counted, name="not-analytics", id=str(order.id))
        report = await house.audit()
        assert wrong(report) == [(Effect.ANALYTICS, True)]
        assert [(one.sku, one.due_units) for one in report.sales_wrong] == [(sku, 0)]
        await house.shop.sql(counted, name="analytics", id=str(order.id))
        assert (await house.audit()).clean

    audited(scenario)


def test_an_invoice_number_that_nobody_has_is_a_gap(audited: Callable[[Scenario], None]) -> None:
    async def scenario(house: House) -> None:
        await house.completed()
        series = "UPDATE invoice_series SET last_sequence = last_sequence + :more"
        await house.shop.sql(series, more=1)
        assert (await house.audit()).invoice_gaps == 1
        await house.shop.sql(series, more=-1)

    audited(scenario)


def test_the_audit_log_lacks_an_event_has_a_type_twice_or_knows_an_order_that_is_none(
    audited: Callable[[Scenario], None],
) -> None:
    async def scenario(house: House) -> None:
        order = await house.completed()
        lacking = "DELETE FROM audit_log WHERE order_id = :id AND type = 'order.synced'"
        await house.shop.sql(lacking, id=order.id)
        assert ((await house.audit()).audit_missing, (await house.audit()).audit_overdue) == (1, 1)
        assert ((await house.audit(None)).audit_missing, (await house.audit(None)).audit_overdue) == (1, 0)
        again = """
            INSERT INTO audit_log (event_id, order_id, type, occurred_at, data)
            VALUES (:event, :order, 'order.placed', now(), '{}')"""
        await house.shop.sql(again, event=new_event_id(), order=order.id)
        assert (await house.audit()).audit_extra == 1
        event, nobody = new_event_id(), uuid4()
        await house.shop.sql(again, event=event, order=nobody)
        assert [one.what for one in (await house.audit()).orphans] == [f"event {event} of order {nobody}"]
        await house.shop.sql("DELETE FROM audit_log WHERE event_id = :event", event=event)

    audited(scenario)


def test_the_command_says_it_as_json_and_by_its_exit_code(
    audited: Callable[[Scenario], None], own_sap: Sap, module_database: str
) -> None:
    async def scenario(house: House) -> None:
        order = await house.completed()
        words = ("--since", house.since.isoformat())
        environment = {
            "DATABASE_URL": module_database,
            "AMQP_URL": "amqp://guest:guest@127.0.0.1:1/",
            "SAP_URL": own_sap.url,
            "DOCUMENTS_DIR": str(house.documents),
        }
        code, output = await asyncio.to_thread(waybill_audit, environment, *words, "--json")
        report = json.loads(output)
        assert (code, report["orders"], report["clean"]) == (0, 1, True)
        await house.shop.sql("DELETE FROM reservations WHERE order_id = :id", id=order.id)
        code, output = await asyncio.to_thread(waybill_audit, environment, *words)
        assert code == 1
        assert "Overdue: 1" in output
        assert order.number in output

    audited(scenario)


def waybill_audit(environment: dict[str, str], *words: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "ops.cli", "orders", "audit", *words]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def draft(order: Order) -> SalesOrderDraft:
    items = tuple(SalesOrderItem(line.sku, line.quantity, line.unit_price, line.discount) for line in order.lines)
    return SalesOrderDraft(order.number, order.id, order.currency, items)


async def send(house: House, order: Order, event: Event) -> None:
    place = house.shop.place
    await place.mailer.send(confirmation(order, event_id=event.id, settings=place.settings))
