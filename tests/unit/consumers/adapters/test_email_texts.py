"""What the e-mails say, and that nothing a customer wrote can make them say something else."""

import email
import email.policy
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from consumers.adapters.email_texts import EmailError, confirmation, rejection
from orders.model import Line, Order, RejectReason
from runtime.settings import Settings
from tests.support.builders.orders import HOSTILE_NAMES, NAMES, sample_order

EVENT = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
WRITTEN = datetime(2026, 3, 1, 13, 0, tzinfo=UTC)
SETTINGS = Settings(database_url="postgresql://nobody@127.0.0.1/none", amqp_url="amqp://nobody@127.0.0.1/")
REASONS = (
    RejectReason("unknown_sku", "We do not sell the product X-1.", "X-1"),
    RejectReason("price", "The price of SKU-0042 is not on our list <today>.", "SKU-0042"),
)


def confirmed(order: Order | None = None) -> EmailMessage:
    return parsed(confirmation(order or sample_order(), event_id=EVENT, settings=SETTINGS, written_at=WRITTEN))


def rejected(order: Order | None = None, reasons: tuple[RejectReason, ...] = REASONS) -> EmailMessage:
    order = order or sample_order()
    return parsed(rejection(order, reasons, event_id=EVENT, settings=SETTINGS, written_at=WRITTEN))


def parsed(message: EmailMessage) -> EmailMessage:
    """The e-mail as it comes out of the wire's bytes."""
    return email.message_from_bytes(message.as_bytes(), policy=email.policy.SMTP)


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    content = part.get_content()
    assert isinstance(content, str)
    return content.replace("\r\n", "\n")


def customer(**changes: Any) -> Order:
    order = sample_order()
    return replace(order, customer=replace(order.customer, **changes))


def test_the_headers_name_order_reference_and_event() -> None:
    message = confirmed()
    assert message["From"] == "Waybill Orders <orders@waybill.example>"
    assert message["To"] == "Frédérique Citeaux <frederique@blondel.example>"
    assert message["Subject"] == "Order WB-00000042 confirmed - your reference PO-2026/0815"
    assert message["Message-ID"] == f"<{EVENT}@waybill.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Waybill-Order"] == "WB-00000042"
    assert message["X-Waybill-Reference"] == "PO-2026/0815"
    assert message["Date"].datetime == WRITTEN


def test_each_attempt_writes_the_same_message_id_and_text() -> None:
    first, second = (confirmation(sample_order(), event_id=EVENT, settings=SETTINGS) for _ in range(2))
    assert first["Message-ID"] == second["Message-ID"]
    assert body(first, "plain") == body(second, "plain")


def test_an_email_without_a_date_given_is_dated_now() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    dated = confirmation(sample_order(), event_id=EVENT, settings=SETTINGS)["Date"].datetime
    assert before <= dated <= datetime.now(UTC)


@pytest.mark.parametrize("write", [confirmed, rejected])
def test_both_parts_hold_reference_number_and_total(write: Any) -> None:
    message = write()
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    for kind in ("plain", "html"):
        text = body(message, kind)
        for expected in ("PO-2026/0815", "WB-00000042", "1234.50 USD"):
            assert expected in text


def test_the_text_shows_the_lines_as_a_table() -> None:
    assert [
        line for line in body(confirmed(), "plain").splitlines() if "SKU" in line or "Item" in line or "--  " in line
    ] == [
        "Item      Quantity  Price  Discount      Net",
        "--------  --------  -----  --------  -------",
        "SKU-0011       100  11.00       5 %  1045.00",
        "SKU-0042        10  18.95       0 %   189.50",
    ]


def test_a_rejection_gives_each_reason_as_a_sentence() -> None:
    message = rejected()
    assert message["Subject"] == "Order WB-00000042 not accepted - your reference PO-2026/0815"
    text = body(message, "plain")
    assert all(f"* {reason.message}\n" in text for reason in REASONS)
    assert "<li>The price of SKU-0042 is not on our list &lt;today&gt;.</li>" in body(message, "html")


def test_a_rejection_without_a_reason_is_an_error() -> None:
    with pytest.raises(EmailError, match="WB-00000042 was rejected without a reason"):
        rejected(reasons=())


@pytest.mark.parametrize("name", NAMES)
def test_names_keep_accents_apostrophes_and_commas(name: str) -> None:
    message = confirmation(customer(name=name), event_id=EVENT, settings=SETTINGS)
    # Read as RFC 2047 says; the parser of Python 3.11 puts a blank between two encoded words of a name.
    shown, address = parseaddr(message.as_bytes().decode().partition("\r\nTo: ")[2].partition("\r\nDate: ")[0])
    assert str(make_header(decode_header(shown))) == name
    assert address == "frederique@blondel.example"
    assert f"Dear {name}," in body(message, "plain")


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_is_never_markup_or_template(name: str) -> None:
    message = confirmed(customer(name=name))
    assert f"Dear {name}," in body(message, "plain")
    assert "<script" not in body(message, "html")
    assert "<b>" not in body(message, "html")


def test_a_rejected_order_without_a_name_still_gets_an_email() -> None:
    assert body(rejected(customer(name="")), "plain").startswith("Hello,\n")


@limits(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.text(min_size=1, max_size=60))
def test_no_name_or_reference_adds_a_header_or_a_recipient(name: str, reference: str) -> None:
    order = replace(customer(name=f"{name}\r\nBcc: thief@evil.example\r\n\r\n"), reference=f"{reference}\nX-Evil: 1")
    message = confirmed(order)
    assert message.keys() == confirmed().keys()
    assert [mailbox.addr_spec for mailbox in message["To"].addresses] == ["frederique@blondel.example"]


def test_a_long_reference_with_accents_survives_its_header() -> None:
    reference = "Bestellung für Müller & Söhne, Straße 7 - " * 2
    assert confirmed(sample_order(reference=reference))["X-Waybill-Reference"] == reference.strip()


@pytest.mark.parametrize("order", [sample_order(), sample_order(reference="ü" * 100, currency="EUR")])
def test_no_line_on_the_wire_is_longer_than_smtp_allows(order: Order) -> None:
    order = replace(order, lines=tuple(Line("S" * 100, 1, Decimal("1.00")) for _ in range(1000)))
    wire = confirmation(order, event_id=EVENT, settings=SETTINGS).as_bytes(policy=email.policy.SMTP)
    assert max(len(line) for line in wire.split(b"\r\n")) <= 998


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nobody",
        "@host.example",
        "a@",
        "a b@c.example",
        "a@b.example,c@d.example",
        "a@b.example\r\nBcc: c@d",
        "a@b..c",
    ],
)
def test_what_is_not_an_address_gets_no_email(address: str) -> None:
    with pytest.raises(EmailError, match="the customer of order WB-00000042") as refused:
        confirmed(customer(email=address))
    assert not address or address not in str(refused.value)


@pytest.mark.parametrize("write", [confirmed, rejected])
def test_the_html_loads_nothing_from_elsewhere(write: Any) -> None:
    html = body(write(), "html")
    assert not any(word in html for word in ("src=", "href=", "url(", "<link", "<script", "@import"))
