"""Gathers what landed, each effect in the place where it landed, and has the completeness audit judge the whole.

The audit (`lab.effects.audit_effects`) finds what is missing, doubled or of no order. Read beside it are the contents
that no audit reads: the text of the e-mails, the text of the PDFs that the API hands out, the amounts in SAP.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from lab.demo.facts import Landed, StoredOrder
from lab.demo.pdf_text import pdf_text
from lab.effects import count_dead_letters, count_pdfs, read_inbox, read_sap_ledger
from lab.trial import Trial
from orders.model import invoice_number

HTTP_SECONDS = 30.0
PDF_PROCESSES = 2
PDF_BATCH = 40

_ORDERS = text("""
SELECT o.id, o.number, o.reference, o.status, o.placed_at, o.completed_at, o.reject_reasons, i.series, i.sequence,
       (SELECT max(finished_at) FROM order_steps s
        WHERE s.order_id = o.id AND s.step = 'send_confirmation_email' AND s.event_type = 'order.rejected'
          AND s.state = 'done') AS notified_at
FROM orders o LEFT JOIN invoices i ON i.order_id = o.id ORDER BY o.number
""")

_AVAILABLE = text("SELECT sku, available FROM products")


async def gather(trial: Trial, on_invoices: Callable[[int], None]) -> Landed:
    """Everything that landed. `on_invoices` is called with the number of PDFs read so far: they take the most time."""
    stack = trial.stack
    async with trial.engine.connect() as connection:
        orders = await _orders(connection)
        available = {row.sku: row.available for row in await connection.execute(_AVAILABLE)}
    dead_letters = await count_dead_letters(trial.engine, stack.amqp_url)
    invoiced = [order.id for order in orders if order.invoice_number is not None]
    invoices = await _invoice_texts(stack.api_url, invoiced, on_invoices)
    return Landed(
        audit=await trial.audit(),
        orders=orders,
        sap=await read_sap_ledger(stack.sap_url),
        emails=await asyncio.to_thread(read_inbox, stack.inbox_dir),
        invoices=invoices,
        invoice_files=await asyncio.to_thread(count_pdfs, stack.documents_dir),
        available=available,
        # Again, with those that the collector held at the first count.
        dead_letters=max(dead_letters, await count_dead_letters(trial.engine, stack.amqp_url)),
    )


async def _orders(connection: AsyncConnection) -> list[StoredOrder]:
    return [
        StoredOrder(
            id=str(row.id),
            number=row.number,
            reference=row.reference,
            status=row.status,
            placed_at=row.placed_at,
            completed_at=row.completed_at,
            notified_at=row.notified_at,
            reasons=tuple((reason.get("sku"), reason["message"]) for reason in row.reject_reasons or ()),
            invoice_number=None if row.sequence is None else invoice_number(row.series, row.sequence),
        )
        for row in await connection.execute(_ORDERS)
    ]


async def _invoice_texts(api_url: str, order_ids: list[str], on_read: Callable[[int], None]) -> Mapping[str, str]:
    """The text of each order's invoice as the API hands it out; an order without a PDF has none."""
    texts: dict[str, str] = {}
    loop = asyncio.get_running_loop()
    # Fresh interpreters: a fork would copy this process's event loop and threads in whatever state they are.
    with ProcessPoolExecutor(PDF_PROCESSES, mp_context=get_context("spawn")) as pool:
        async with httpx.AsyncClient(base_url=api_url, timeout=HTTP_SECONDS, trust_env=False) as client:
            for start in range(0, len(order_ids), PDF_BATCH):
                batch = order_ids[start : start + PDF_BATCH]
                responses = await asyncio.gather(*(client.get(f"/orders/{one}/invoice.pdf") for one in batch))
                found = {
                    one: response.content for one, response in zip(batch, responses, strict=True) if response.is_success
                }
                read = await asyncio.gather(*(loop.run_in_executor(pool, pdf_text, pdf) for pdf in found.values()))
                texts.update(zip(found, read, strict=True))
                on_read(len(texts))
    return texts
