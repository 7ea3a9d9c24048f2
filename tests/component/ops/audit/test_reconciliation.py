"""The audit reports sums that disagree: stock, sales, invoice numbers, the audit log; the command prints them."""

from decimal import Decimal
from uuid import uuid4

from orders.audit.rules import Effect
from orders.model import Line
from outbox.envelope import new_event_id
from tests.support.builders.audited_orders import (
    AuditedOrders,
    audited,
    own_inbox,
    own_sap,
    wrong,
)

__all__ = ["audited", "own_inbox", "own_sap"]


async def test_stock_that_is_not_conserved_is_reported(audited: AuditedOrders) -> None:
    sku = await audited.harness.product(10)
    await audited.go(await audited.harness.place_order(Line(sku, 2, Decimal(14))), until="inventory.reserved")
    assert (await audited.audit(initial_stock={sku: 10})).stock_wrong == []
    await audited.harness.sql("UPDATE products SET available = available - 1 WHERE sku = :sku", sku=sku)
    (found,) = (await audited.audit(initial_stock={sku: 10})).stock_wrong
    assert (found.sku, found.available, found.reserved) == (sku, 7, 2)


async def test_sales_that_were_counted_twice_or_not_at_all_do_not_agree(audited: AuditedOrders) -> None:
    order = await audited.completed()
    sku = order.lines[0].sku
    change = "UPDATE sales_by_day SET units = units + :more WHERE sku = :sku"
    await audited.harness.sql(change, more=2, sku=sku)
    (found,) = (await audited.audit()).sales_wrong
    assert (found.sku, found.units, found.due_units) == (sku, 4, 2)
    await audited.harness.sql(change, more=-2, sku=sku)
    counted = "UPDATE outbox.deliveries SET consumer = :name WHERE subject = :id AND consumer LIKE '%analytics'"
    await audited.harness.sql(counted, name="not-analytics", id=str(order.id))
    report = await audited.audit()
    assert wrong(report) == [(Effect.ANALYTICS, True)]
    assert [(one.sku, one.due_units) for one in report.sales_wrong] == [(sku, 0)]
    await audited.harness.sql(counted, name="analytics", id=str(order.id))
    assert (await audited.audit()).clean


async def test_an_unused_invoice_number_is_a_gap(audited: AuditedOrders) -> None:
    await audited.completed()
    series = "UPDATE invoice_series SET last_sequence = last_sequence + :more"
    await audited.harness.sql(series, more=1)
    assert (await audited.audit()).invoice_gaps == 1
    await audited.harness.sql(series, more=-1)


async def test_the_audit_log_lacks_an_event_has_a_type_twice_or_holds_an_unknown_order(
    audited: AuditedOrders,
) -> None:
    order = await audited.completed()
    lacking = "DELETE FROM audit_log WHERE order_id = :id AND type = 'order.synced'"
    await audited.harness.sql(lacking, id=order.id)
    assert ((await audited.audit()).audit_missing, (await audited.audit()).audit_overdue) == (1, 1)
    assert ((await audited.audit(None)).audit_missing, (await audited.audit(None)).audit_overdue) == (1, 0)
    again = """
            INSERT INTO audit_log (event_id, order_id, type, occurred_at, data)
            VALUES (:event, :order, 'order.placed', now(), '{}')"""
    await audited.harness.sql(again, event=new_event_id(), order=order.id)
    assert (await audited.audit()).audit_extra == 1
    event, unknown = new_event_id(), uuid4()
    await audited.harness.sql(again, event=event, order=unknown)
    assert [one.what for one in (await audited.audit()).orphans] == [f"event {event} of order {unknown}"]
    await audited.harness.sql("DELETE FROM audit_log WHERE event_id = :event", event=event)
