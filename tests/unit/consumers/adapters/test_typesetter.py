"""The invoice as people and programs read it: text taken out of the PDF again, its fonts, its bytes."""

import io
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import typst
from pypdf import PdfReader
from pypdf.generic import DictionaryObject

from consumers.adapters import typesetter
from consumers.adapters.typesetter import TypesetError, typeset_invoice
from orders.model import Line, Order
from runtime.settings import Settings
from tests.support.builders.orders import HOSTILE_NAMES, NAMES, sample_invoice, sample_order

SETTINGS = Settings(database_url="postgresql://nobody@127.0.0.1/none", amqp_url="amqp://nobody@127.0.0.1/")


def typeset(order: Order | None = None) -> PdfReader:
    return PdfReader(io.BytesIO(typeset_invoice(order or sample_order(), sample_invoice(), SETTINGS)))


def text(pdf: PdfReader) -> str:
    return "\n".join(page.extract_text() for page in pdf.pages)


def customer(**changes: Any) -> Order:
    order = sample_order()
    return replace(order, customer=replace(order.customer, **changes))


def fonts(pdf: PdfReader) -> list[DictionaryObject]:
    """The descriptors of every font on any page."""
    used = [font.get_object() for page in pdf.pages for font in _part(_part(page, "/Resources"), "/Font").values()]
    return [
        _part(descendant.get_object(), "/FontDescriptor") for font in used for descendant in font["/DescendantFonts"]
    ]


def _part(whole: DictionaryObject, name: str) -> DictionaryObject:
    part = whole[name].get_object()
    assert isinstance(part, DictionaryObject)
    return part


def test_the_invoice_shows_numbers_dates_addresses_and_totals() -> None:
    shown = text(typeset())
    for expected in (
        *("2026-000042", "WB-00000042", "PO-2026/0815", "2026-03-02", "2026-03-01"),
        *("Frédérique Citeaux", "24, place Kléber", "67000 Strasbourg", "Grand Est", "France"),
        *("Waybill Trading", "1 Harbour Road", "20457 Hamburg", "DE123456789", "Page 1 of 1"),
        *("1 SKU-0011 100 11.00 5 % 1045.00", "2 SKU-0042 10 18.95 \u2013 189.50"),
        *("Total before discount 1289.50", "Discount \u221255.00", "Net total 1234.50 USD"),
    ):
        assert expected in shown


@pytest.mark.parametrize("name", [*NAMES, *HOSTILE_NAMES])
def test_a_name_is_printed_character_by_character_and_never_read_as_markup(name: str) -> None:
    assert name in " ".join(text(typeset(customer(name=name))).split())


def test_markup_in_every_other_field_is_printed_as_it_is() -> None:
    hostile = '#panic("x")'
    order = customer(address=replace(sample_order().customer.address, street=hostile, city=hostile))
    order = replace(order, reference=hostile, lines=(Line(hostile, 1, Decimal("1.00")),))
    assert text(typeset(order)).count(hostile) == 4


def test_a_script_without_a_bundled_font_leaves_the_rest_readable() -> None:
    shown = text(typeset(customer(name="東京株式会社 Tokyo")))
    assert "Tokyo" in shown
    assert "Net total 1234.50 USD" in shown


def test_every_font_is_embedded_and_comes_with_the_typesetter() -> None:
    pdf = typeset(customer(name="Zażółć Ελλάς Ёж → ☎"))
    names = {str(font["/FontName"]).partition("+")[2] for font in fonts(pdf)}
    assert names
    assert all(name.startswith(("LibertinusSerif", "DejaVuSansMono", "NewCM")) for name in names)
    assert all({"/FontFile2", "/FontFile3"} & font.keys() for font in fonts(pdf))


def test_a_long_order_repeats_its_table_header_and_counts_its_pages() -> None:
    lines = tuple(Line(f"SKU-{n:04}", n, Decimal("1.2345"), Decimal("0.125")) for n in range(1, 1001))
    order = sample_order(lines=lines)
    pdf = typeset(order)
    count = len(pdf.pages)
    pages = [page.extract_text() for page in pdf.pages]
    assert count > 10
    assert all(f"Page {number} of {count}" in page for number, page in enumerate(pages, start=1))
    assert sum("Unit price" in page for page in pages) >= count - 1
    assert all(f"\n{n} SKU-{n:04} {n} 1.2345 12.5 % " in "\n".join(pages) for n in (1, 500, 1000))
    assert f"Net total {order.net_total} USD" in pages[-1]


def test_what_is_too_wide_for_its_place_is_not_broken() -> None:
    order = sample_order(reference="R" * 100, lines=(Line("SKU-" + "W" * 60, 2_000_000_000, Decimal("99999999.9999")),))
    shown = text(typeset(order))
    assert "R" * 100 in shown
    assert "SKU-" + "W" * 60 in shown
    assert "2000000000" in shown
    assert f"Net total {order.net_total} USD" in shown


def test_an_address_without_region_and_postal_code_leaves_no_gap() -> None:
    address = replace(sample_order().customer.address, region=None, postal_code=None)
    assert "24, place Kléber\nStrasbourg\nFrance\n" in text(typeset(customer(address=address)))


def test_the_same_invoice_gives_the_same_bytes_from_a_fresh_compiler_too() -> None:
    first = typeset_invoice(sample_order(), sample_invoice(), SETTINGS)
    typeset_invoice(sample_order(reference="another"), sample_invoice(number="2026-000043"), SETTINGS)
    assert typeset_invoice(sample_order(), sample_invoice(), SETTINGS) == first
    typesetter._compiler.cache_clear()
    assert typeset_invoice(sample_order(), sample_invoice(), SETTINGS) == first


def test_the_file_bears_title_author_and_the_invoices_date() -> None:
    pdf = typeset()
    assert pdf.metadata is not None
    assert pdf.metadata.title == "Invoice 2026-000042"
    assert pdf.metadata.author == "Waybill Trading"
    assert pdf.metadata.creation_date == sample_invoice().issued_at
    assert (pdf.pages[0].mediabox.width, pdf.pages[0].mediabox.height) == pytest.approx((595.3, 841.9), abs=0.1)


def test_a_typesetters_failure_names_the_invoice_and_keeps_the_cause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(typesetter, "_compiler", lambda: typst.Compiler(b'#panic("torn")'))
    with pytest.raises(TypesetError, match=r"2026-000042 of order WB-00000042.*torn") as caught:
        typeset_invoice(sample_order(), sample_invoice(), SETTINGS)
    assert isinstance(caught.value.__cause__, typst.TypstError)
