"""The completeness ledger (`waybill orders audit`) looks at the same system in its own way: two who look must agree."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from lab.prove.judge.finding import Finding
from lab.stack.local import LocalStack
from lab.workload.expectations import DemoSet
from ops.audit.probes import SapSandbox
from ops.audit.report import Places, Report, audit
from ops.cli.audit_view import as_json
from orders.audit.queries import Window
from runtime.database import make_engine
from runtime.document_store import document_store
from runtime.settings import Settings

LONGEST = timedelta(hours=1)  # of a proof


async def second_opinion(stack: LocalStack, demo: DemoSet) -> list[Finding]:
    """What the ledger finds wrong with all orders of this system, nothing being given any more time."""
    settings = Settings(database_url=stack.database_url, amqp_url=stack.amqp_url, documents_dir=stack.documents_dir)
    engine = make_engine(settings, "lab prove")
    stock = {product.sku: product.stock for product in demo.products}
    places = Places(SapSandbox(stack.sap_url), stack.mail_url, document_store(settings), stock)
    now = datetime.now(UTC)
    try:
        window = Window(now - LONGEST, now + LONGEST)
        return list(differences(await audit(engine, places, window, timedelta(0)), len(demo.orders)))
    finally:
        await engine.dispose()


def differences(report: Report, orders: int) -> Iterator[Finding]:
    """What a report says in the words of a proof. One that is not clean says so, whatever it is about."""
    found = [
        *(Finding("lost", _says(one.effect), one.order, one.stands) for one in report.missing),
        *(Finding("duplicated", _says(one.effect), one.order, one.what) for one in report.doubled),
        *(Finding("duplicated", _says(one.effect), one.what, "of no order") for one in report.orphans),
    ]
    if report.orders != orders:
        found.append(Finding("lost", _says("order"), f"{orders - report.orders} of {orders}"))
    if not report.clean and not found:
        found.append(Finding("lost", _says("something"), "its report", as_json(report)[:2000]))
    yield from found


def _says(effect: str) -> str:
    return f"{effect}, says the ledger"
