"""Orders whose effects an audit checks: a step harness, the systems that hold the effects, and methods for both.

SAP and the mailbox belong to the test module, because an audit sees everything that is in them. Effects that one test
leaves there without an order are taken out of the report of the next.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from consumers.adapters.email_texts import confirmation
from consumers.adapters.erp import SalesDocument, SalesOrderDraft, SalesOrderItem
from consumers.adapters.erp_factory import make_erp
from consumers.adapters.mailer import Mailer
from ops.audit.probes import SapSandbox
from ops.audit.report import AuditReport, Probes, audit
from orders.audit.queries import Window
from orders.audit.rules import OrphanEffect
from orders.model import Order
from orders.workflow import BY_QUEUE
from outbox.cursor.log import ConfirmedPage, advance
from outbox.cursor.reader import ONE_PLAN, Reader
from outbox.envelope import Event
from runtime.document_store import document_store
from runtime.settings import Settings
from tests.support.builders.step_harness import StepHarness, step_harness
from tests.support.processes.sandboxes import Sap, Smtp, start_sap, start_smtp

__all__ = ["audited", "own_inbox", "own_sap"]

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


@pytest.fixture(scope="module")
def own_sap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sap]:
    """A SAP of this module's own: other modules' documents would be orphans here."""
    with start_sap(tmp_path_factory.mktemp("sap")) as running:
        yield running


@pytest.fixture(scope="module")
def own_inbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smtp]:
    """A mailbox of this module's own."""
    with start_smtp(tmp_path_factory.mktemp("smtp")) as running:
        yield running


@dataclass
class AuditedOrders:
    """A step harness, the systems that hold the effects, and the moment at which the test began."""

    harness: StepHarness
    places: Probes
    since: datetime
    documents: Path
    found_before: list[OrphanEffect]

    async def audit(self, deadline: timedelta | None = AT_ONCE, **places: Any) -> AuditReport:
        """The audit of this test's orders."""
        window = Window(self.since, datetime.now(UTC) + timedelta(hours=1))
        report = await audit(self.harness.ctx.engine, replace(self.places, **places), window, deadline)
        return self.without_earlier_orphans(report)

    def without_earlier_orphans(self, report: AuditReport) -> AuditReport:
        """The report without the orphans that a test before this one has made."""
        return replace(report, orphans=[one for one in report.orphans if one not in self.found_before])

    async def go(self, order: Order, *, until: str = "order.completed") -> None:
        """Run an order's steps up to this event, which no step receives."""
        for kind in WAY:
            if kind == until:
                break
            await self.hear(order, kind)

    async def hear(self, order: Order, kind: str) -> None:
        """Run the steps that react to an event of this type."""
        event = await self.harness.event(order, kind)
        for queue in WAY[kind]:
            await self.harness.deliver(BY_QUEUE[queue].name, event)

    async def record_audit(self, order: Order) -> None:
        """Write an order's recorded events into the audit log."""
        for kind in (*WAY, "order.rejected"):
            for event in await self.harness.events(order, kind):
                await self.harness.deliver("record_audit", event)

    async def completed(self) -> Order:
        order = await self.harness.place_order()
        await self.go(order)
        await self.record_audit(order)
        return await self.harness.order(order.id)

    async def read_outbox(self) -> None:
        """As the relay does it: read everything that is committed and move the cursor past it."""
        url = self.harness.ctx.settings.database_url
        connection = await asyncpg.connect(url, server_settings=ONE_PLAN)
        try:
            await connection.execute(LEAD)
            reader = Reader(connection, 1000)
            await reader.resume()
            while (page := await reader.next_page()) is not None:
                await advance(connection, 1, [ConfirmedPage(page, datetime.now(UTC), datetime.now(UTC))])
        finally:
            await connection.close()


@pytest.fixture
async def audited(module_database: str, own_sap: Sap, own_inbox: Smtp, tmp_path: Path) -> AsyncIterator[AuditedOrders]:
    """Orders whose audit reads all the systems."""
    own_sap.faults(outage=False)
    settings = Settings(
        database_url=module_database,
        amqp_url="amqp://guest:guest@127.0.0.1:1/",
        sap_url=own_sap.url,
        smtp_port=own_inbox.port,
        documents_dir=tmp_path / "documents",
        sap_commit_seconds=0,
        sap_retry_base_seconds=4,
    )

    async with step_harness(settings) as harness:
        places = Probes(SapSandbox(own_sap.url), own_inbox.url, document_store(settings))
        audited = AuditedOrders(harness, places, datetime.now(UTC), settings.documents_dir, [])
        audited.found_before.extend((await audited.audit()).orphans)
        yield audited


def wrong(report: AuditReport) -> list[tuple[str, bool]]:
    return [(one.effect, one.overdue) for one in report.missing]


def draft(order: Order) -> SalesOrderDraft:
    items = tuple(SalesOrderItem(line.sku, line.quantity, line.unit_price, line.discount) for line in order.lines)
    return SalesOrderDraft(order.number, order.id, order.currency, items)


async def send(audited: AuditedOrders, order: Order, event: Event) -> None:
    settings = audited.harness.ctx.settings
    mailer = Mailer(settings)
    await mailer.send(confirmation(order, event_id=event.id, settings=settings))
    await mailer.close()


async def book(audited: AuditedOrders, wanted: SalesOrderDraft) -> SalesDocument:
    """Make a document in SAP, beside the product."""
    erp = make_erp(audited.harness.ctx.settings)
    try:
        return await erp.create(wanted)
    finally:
        await erp.aclose()
