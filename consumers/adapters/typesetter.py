"""Typesetter of invoices: a PDF, set by typst from `templates/invoice.typ`. Called by `consumers.steps.invoice`.

The template gets the order as JSON in `sys.inputs`, so that a customer's text is never read as markup. Only the fonts
inside the typst package are used, and the PDF's time stamp is the invoice's. So the same invoice gives the same bytes
on every machine. The main font, Libertinus Serif, has Latin with all its accents, Greek and Cyrillic. A character that
no bundled font has, such as CJK, is printed as an empty box.
"""

import json
import threading
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import typst

from consumers.adapters.formats import money, one_line, per_cent, unit_price
from orders.model import Address, Invoice, Order
from orders.workflow import ErrorKind
from runtime.settings import Settings

_TEMPLATES = Path(__file__).with_name("templates")
_one_at_a_time = threading.Lock()


class TypesetError(Exception):
    """An invoice could not be set. The message has its number and typst's error."""

    kind = ErrorKind.BAD_DATA  # the same page is set in the same way each time


def typeset_invoice(order: Order, invoice: Invoice, seller: Settings) -> bytes:
    """The invoice of an order as a PDF, A4. It takes milliseconds of CPU: call it in a thread from an event loop.

    Raises TypesetError with the cause when typst fails.
    """
    data = json.dumps(_page_data(order, invoice, seller), ensure_ascii=False)
    # A compiler refuses a second call while one is running.
    with _one_at_a_time:
        try:
            pdf = _compiler().compile(
                format="pdf", sys_inputs={"invoice": data}, timestamp=int(invoice.issued_at.timestamp())
            )
        except (typst.TypstError, RuntimeError, ValueError) as error:
            raise TypesetError(f"cannot typeset invoice {invoice.number} of order {order.number}: {error}") from error
    if not isinstance(pdf, bytes):
        raise TypesetError(f"invoice {invoice.number} of order {order.number}: typst gave no document")
    return pdf


@lru_cache(maxsize=1)
def _compiler() -> typst.Compiler:
    """The compiler of this process, which keeps the fonts and the parsed template."""
    return typst.Compiler(
        _TEMPLATES / "invoice.typ",
        root=_TEMPLATES,
        font_paths=typst.Fonts(include_system_fonts=False, include_embedded_fonts=True),
        ignore_system_fonts=True,
    )


def _page_data(order: Order, invoice: Invoice, seller: Settings) -> dict[str, object]:
    return {
        "number": invoice.number,
        "issued": _day(invoice.issued_at),
        "order": order.number,
        "reference": one_line(order.reference),
        "placed": _day(order.placed_at),
        "currency": order.currency,
        "seller": _seller(seller),
        "customer": [one_line(order.customer.name), *_address(order.customer.address)],
        "lines": [
            {
                "item": one_line(line.label),
                "quantity": str(line.quantity),
                "unit_price": unit_price(line.unit_price),
                "discount": per_cent(line.discount) if line.discount else "\u2013",
                "net": money(line.net),
            }
            for line in order.lines
        ],
        "gross_total": money(sum((line.gross for line in order.lines), start=order.net_total * 0)),
        "discount_total": money(sum((line.gross for line in order.lines), start=-order.net_total)),
        "net_total": money(order.net_total),
    }


def _seller(seller: Settings) -> dict[str, object]:
    address = Address(
        street=seller.seller_street,
        city=seller.seller_city,
        country=seller.seller_country,
        postal_code=seller.seller_postal_code,
    )
    return {
        "name": seller.seller_name,
        "address": _address(address),
        "tax_id": seller.seller_tax_id,
        "email": seller.seller_email,
    }


def _address(address: Address) -> list[str]:
    """The lines of an address below the name, without empty lines for missing parts."""
    town = " ".join(one_line(part) for part in (address.postal_code, address.city) if part)
    parts = (address.street, town, address.region, address.country)
    return [one_line(part) for part in parts if part and one_line(part)]


def _day(moment: datetime) -> str:
    """The date in UTC, as everywhere in Waybill: the invoice numbers of a year end with the year in UTC."""
    return moment.astimezone(UTC).date().isoformat()
