"""A trial's audit reads each system of a local stack, counts a missing effect at once, and allows for two clocks."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lab.effects import CLOCK_MARGIN, audit_effects
from lab.stack.addresses import Addresses
from lab.stack.local import LocalStack
from lab.workload.expectations import CatalogueProduct, Workload
from ops.audit.report import AuditReport
from orders.audit.rules import DuplicateEffect, Effect
from orders.model import Line, Order
from tests.support.builders.audited_orders import (
    AuditedOrders,
    audited,
    book,
    draft,
    own_inbox,
    own_sap,
    wrong,
)
from tests.support.processes.sandboxes import Sap, Smtp

__all__ = ["audited", "own_inbox", "own_sap"]

UNITS = 10


@dataclass
class Trial:
    """Orders of one product, in the systems of a stack whose folder is `stack.instance.folder`."""

    orders: AuditedOrders
    stack: LocalStack
    sku: str

    async def placed(self) -> Order:
        return await self.orders.harness.place_order(Line(self.sku, 2, Decimal("14.00"), Decimal(0)))

    async def completed(self) -> Order:
        order = await self.placed()
        await self.orders.go(order)
        await self.orders.record_audit(order)
        return order

    async def audit(self, since: datetime | None = None, units: int = UNITS) -> AuditReport:
        """The audit of the orders since the test began; `units` is what the workload says of the stock."""
        product = CatalogueProduct(self.sku, "Product", units, frozenset({Decimal("14.00")}))
        workload = Workload("one product", "USD", (product,), ())
        report = await audit_effects(
            self.orders.harness.ctx.engine, self.stack, workload, since or self.orders.since + CLOCK_MARGIN
        )
        return self.orders.without_earlier_orphans(report)


@pytest.fixture
async def trial(audited: AuditedOrders, own_sap: Sap, own_inbox: Smtp, tmp_path: Path) -> Trial:
    """The stack's record names the systems of `audited`."""
    settings = audited.harness.ctx.settings
    ports = {"sap": urlsplit(own_sap.url).port or 0, "mail": urlsplit(own_inbox.url).port or 0}
    stack = LocalStack(tmp_path, Addresses(settings.database_url, settings.amqp_url, ports))
    assert stack.documents_dir == settings.documents_dir
    return Trial(audited, stack, await audited.harness.product(available=UNITS))


async def test_an_order_whose_effects_are_all_there_leaves_nothing_to_report(trial: Trial) -> None:
    await trial.completed()
    report = await trial.audit()
    assert (report.orders, report.statuses) == (1, {"completed": 1})
    assert (report.not_seen, report.clean) == ({}, True)


async def test_a_missing_effect_is_overdue_at_once(trial: Trial) -> None:
    await trial.placed()
    assert wrong(await trial.audit()) == [(effect, True) for effect in Effect]


async def test_each_effect_is_looked_up_where_it_is(trial: Trial) -> None:
    order = await trial.completed()
    (pdf,) = trial.stack.documents_dir.rglob("*.pdf")
    pdf.unlink()
    first = (await trial.orders.harness.order(order.id)).sap_document
    second = await book(trial.orders, draft(order))
    report = await trial.audit(units=UNITS + 1)
    assert wrong(report) == [(Effect.INVOICE, True)]
    documents = f"document {first} and document {second.number}"
    assert report.doubled == [DuplicateEffect(order.number, Effect.SAP, documents)]
    assert [difference.sku for difference in report.stock_wrong] == [trial.sku]


async def test_an_order_that_postgres_dates_just_before_the_trial_is_one_of_the_trial(trial: Trial) -> None:
    order = await trial.placed()
    for offset, orders in ((timedelta(0), 1), (timedelta(seconds=1), 0)):
        report = await trial.audit(since=order.placed_at + CLOCK_MARGIN + offset)
        assert report.orders == orders
