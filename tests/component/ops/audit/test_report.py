"""The audit finds missing effects with the step that blocks each, and doubled effects, at the sources of effects."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from ops.audit.probes import SapOverOData
from orders.audit.rules import DuplicateEffect, Effect, MissingEffect
from outbox.envelope import new_event_id
from outbox.schedule import schedule
from tests.support.builders.audited_orders import (
    AuditedOrders,
    audited,
    book,
    draft,
    own_inbox,
    own_sap,
    send,
    wrong,
)
from tests.support.processes.sandboxes import Sap

__all__ = ["audited", "own_inbox", "own_sap"]

EMAIL = """
INSERT INTO outbox.dead_letters (dead_letter_key, queue, event_id, type, subject, body, headers, reason, error)
VALUES (:key, :queue, :event_id, :type, :subject, '', '{}', 'rejected', 'ErpRefused: no') RETURNING id"""


async def test_a_completed_order_whose_effects_are_all_there_once_is_clean(audited: AuditedOrders) -> None:
    await audited.completed()
    report = await audited.audit()
    assert (report.orders, report.statuses) == (1, {"completed": 1})
    assert (report.missing, report.doubled, report.orphans) == ([], [], [])
    assert (report.resent, report.invoice_gaps, report.audit_missing, report.audit_extra) == (0, 0, 0, 0)
    assert report.clean


async def test_a_rejected_order_owes_only_the_email_about_it(audited: AuditedOrders) -> None:
    order, event = await audited.harness.rejected()
    await audited.record_audit(order)
    report = await audited.audit()
    assert wrong(report) == [(Effect.EMAIL, True)]
    assert report.missing[0].blocked_by == "not begun: its event waits in the outbox"
    await audited.harness.deliver("send_confirmation_email", event)
    assert (await audited.audit()).clean


async def test_a_waiting_order_names_its_step_and_is_overdue_only_after_its_deadline(
    audited: AuditedOrders, own_sap: Sap
) -> None:
    order = await audited.harness.place_order()
    await audited.go(order, until="inventory.reserved")
    own_sap.faults(outage=True)
    await audited.harness.deliver("sync_order_to_sap", await audited.harness.event(order, "inventory.reserved"))
    own_sap.faults(outage=False)
    report = await audited.audit(deadline=None)
    assert wrong(report) == [(effect, False) for effect in Effect if effect is not Effect.STOCK]
    blocked_by = {one.effect: one.blocked_by for one in report.missing}
    shown = await audited.harness.shown(order, "sync_order_to_sap")
    assert blocked_by[Effect.SAP].startswith(f"waiting in sap, attempt {shown['attempt']}, ")  # perhaps due already
    assert "last error ErpUnavailable: " in blocked_by[Effect.SAP]
    assert blocked_by[Effect.EMAIL] == f"waits for sap: {blocked_by[Effect.SAP]}"
    assert report.clean
    late = await audited.audit(timedelta(0))
    assert all(one.overdue for one in late.missing)
    assert not late.clean


async def test_an_unpublished_event_is_distinguished_from_one_in_its_queue(
    audited: AuditedOrders,
) -> None:
    await audited.harness.place_order()
    before = (await audited.audit()).missing[0]
    await audited.read_outbox()
    after = (await audited.audit()).missing[0]
    assert before.blocked_by == "waits for validation: not begun: its event waits in the outbox"
    assert after.blocked_by == "waits for validation: not begun: its event is in queue validation"


async def test_an_event_that_is_sent_to_all_again_later_is_due_then(audited: AuditedOrders) -> None:
    order = await audited.harness.place_order()
    await audited.read_outbox()
    again = replace(await audited.harness.event(order, "order.placed"), generation=2)
    async with audited.harness.ctx.engine.begin() as tx:
        await schedule(tx, again, None, datetime(2099, 1, 1, 13, tzinfo=UTC))
    blocked_by = (await audited.audit()).missing[0].blocked_by
    assert blocked_by == "waits for validation: not begun: its event is due 2099-01-01 13:00:00"


async def test_a_dead_lettered_step_names_its_dead_letter(audited: AuditedOrders) -> None:
    order = await audited.harness.place_order()
    event = await audited.harness.event(order, "order.placed")
    number = await audited.harness.value(
        EMAIL, key=uuid4().hex, queue="validation", event_id=event.id, type=event.type, subject=str(order.id)
    )
    blocked_by = (await audited.audit()).missing[0].blocked_by
    expected = f"dead letter {number} in validation is open (rejected), last error ErpRefused: no"
    assert blocked_by == f"waits for validation: {expected}"
    # Discarded it stays the reason, though no step's row knows of it.
    await audited.harness.sql("UPDATE outbox.dead_letters SET state = 'discarded' WHERE id = :id", id=number)
    await audited.read_outbox()
    blocked_by = (await audited.audit()).missing[0].blocked_by
    discarded = f"dead letter {number} in validation was discarded, last error ErpRefused: no"
    assert blocked_by == f"waits for validation: {discarded}"


async def test_a_second_document_in_sap_is_a_doubled_effect(audited: AuditedOrders) -> None:
    order = await audited.completed()
    second = await book(audited, draft(order))
    (doubled,) = (await audited.audit()).doubled
    assert doubled == DuplicateEffect(
        order.number, Effect.SAP, f"document {order.sap_document} and document {second.number}"
    )
    over_odata = await audited.audit(sap=SapOverOData(audited.harness.ctx.settings))
    assert over_odata.doubled == [doubled]


async def test_a_document_in_sap_without_an_order_is_an_orphan(audited: AuditedOrders) -> None:
    order = await audited.completed()
    stranger = await book(audited, replace(draft(order), order_id=uuid4(), order_number="WB-NONE"))
    report = await audited.audit()
    assert [(one.effect, one.what) for one in report.orphans] == [
        ("sap", f"document {stranger.number} for order 'WB-NONE'")
    ]
    assert not report.clean
    # Queries order by order cannot find it.
    assert (await audited.audit(sap=SapOverOData(audited.harness.ctx.settings))).clean


async def test_a_recorded_document_that_sap_lacks_is_missing_at_once(audited: AuditedOrders) -> None:
    order = await audited.harness.place_order()
    await audited.go(order, until="inventory.reserved")
    audited.places = replace(audited.places, sap=SapOverOData(audited.harness.ctx.settings))
    await audited.harness.sql("UPDATE orders SET status = 'completed', sap_document = '1' WHERE id = :id", id=order.id)
    found = [one for one in (await audited.audit(deadline=None)).missing if one.effect is Effect.SAP]
    reported = "sap says it is done, and it is not there: document 1"
    assert found == [MissingEffect(order.number, Effect.SAP, reported, overdue=True)]


async def test_while_sap_does_not_answer_our_tables_are_trusted_and_the_report_says_so(
    audited: AuditedOrders, own_sap: Sap
) -> None:
    await audited.completed()
    own_sap.faults(outage=True)
    report = await audited.audit(sap=SapOverOData(audited.harness.ctx.settings))
    own_sap.faults(outage=False)
    assert (report.missing, list(report.not_seen)) == ([], ["sap"])
    assert not report.clean


async def test_the_same_email_again_is_resent_and_another_one_is_doubled(audited: AuditedOrders) -> None:
    order = await audited.completed()
    event = await audited.harness.event(order, "order.synced")
    await send(audited, order, event)
    report = await audited.audit()
    assert (report.resent, report.doubled, report.clean) == (1, [], True)
    other = replace(event, id=new_event_id())
    await audited.harness.deliver("send_confirmation_email", other)
    (doubled,) = (await audited.audit()).doubled
    assert (doubled.order, doubled.effect) == (order.number, Effect.EMAIL)
    assert {f"e-mail {event.id}", f"e-mail {other.id}"} == set(doubled.what.split(" and "))
    # Without a view of the mailbox the inbox's word is taken, which cannot tell a second copy.
    blind = await audited.audit(mail_view=None)
    assert (blind.resent, [one.order for one in blind.doubled]) == (0, [order.number])


async def test_an_email_of_an_unknown_event_is_an_orphan(audited: AuditedOrders) -> None:
    order = await audited.completed()
    stranger = replace(await audited.harness.event(order, "order.synced"), id=new_event_id())
    await send(audited, order, stranger)
    assert [(one.effect, one.what) for one in (await audited.audit()).orphans] == [("email", f"e-mail {stranger.id}")]


async def test_an_invoice_without_a_pdf_is_missing(audited: AuditedOrders) -> None:
    order = await audited.completed()
    (pdf,) = audited.documents.rglob("*.pdf")
    pdf.write_bytes(b"")
    report = await audited.audit()
    assert wrong(report) == [(Effect.INVOICE, True)]
    assert report.missing[0].blocked_by.endswith(f"it is not there: invoices/{order.invoice_number}.pdf")
    pdf.unlink()
    assert wrong(await audited.audit()) == [(Effect.INVOICE, True)]


async def test_units_that_an_order_lacks_has_too_many_of_or_should_not_have(audited: AuditedOrders) -> None:
    order = await audited.completed()
    change = "UPDATE reservations SET quantity = :units WHERE order_id = :id"
    await audited.harness.sql(change, units=1, id=order.id)
    assert wrong(await audited.audit()) == [(Effect.STOCK, True)]
    await audited.harness.sql(change, units=4, id=order.id)
    sku = order.lines[0].sku
    assert (await audited.audit()).doubled == [
        DuplicateEffect(order.number, Effect.STOCK, f"4 units of {sku}, 2 ordered")
    ]
    rejected, event = await audited.harness.rejected()
    await audited.harness.deliver("send_confirmation_email", event)
    await audited.harness.sql(
        "UPDATE reservations SET order_id = :other WHERE order_id = :id", other=rejected.id, id=order.id
    )
    orphans = (await audited.audit()).orphans
    assert [one.what for one in orphans] == [f"4 units of {sku} of {rejected.number}, which is rejected"]
