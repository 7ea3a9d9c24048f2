"""Texts of the e-mails: one for an accepted order, one for a rejected order. Pure. Called by `consumers.steps.email`.

The templates are in `templates/`. Each attempt of a delivery writes the same e-mail under the same Message-ID, which is
made from the event id alone, so that a mailbox can recognise a second copy. No text of a customer can begin a header or
an HTML tag: control characters become blanks, the HTML is autoescaped, and the body is quoted-printable, which keeps
every line short.
"""

from datetime import UTC, datetime
from email.headerregistry import Address as Mailbox
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import parseaddr
from pathlib import Path
from uuid import UUID

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from consumers.adapters.formats import money, one_line, per_cent, unit_price
from orders.model import Order, RejectReason
from runtime.settings import Settings

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_COLUMNS = ("Item", "Quantity", "Price", "Discount", "Net")
# Characters that would end an address, or begin a second one.
_NOT_IN_ADDRESS = frozenset(' ,;:<>()[]"\\')


class EmailError(Exception):
    """This e-mail cannot be written, now or later. The message names the order and the reason."""


def confirmation(
    order: Order, *, event_id: UUID, settings: Settings, written_at: datetime | None = None
) -> EmailMessage:
    """The e-mail for an accepted order. `written_at` is now unless given.

    Raises EmailError when the customer's e-mail address is not valid.
    """
    message = _envelope(order, event_id, settings, written_at)
    message["Subject"] = f"Order {order.number} confirmed - your reference {_in_header(order.reference)}"
    return _with_bodies(message, "confirmation", order, settings, reasons=())


def rejection(
    order: Order,
    reasons: tuple[RejectReason, ...],
    *,
    event_id: UUID,
    settings: Settings,
    written_at: datetime | None = None,
) -> EmailMessage:
    """The e-mail for a rejected order with one sentence per reason. `written_at` is now unless given.

    Raises EmailError when there is no reason, or when the customer's e-mail address is not valid.
    """
    if not reasons:
        raise EmailError(f"order {order.number} was rejected without a reason; a rejection must give one at least")
    message = _envelope(order, event_id, settings, written_at)
    message["Subject"] = f"Order {order.number} not accepted - your reference {_in_header(order.reference)}"
    sentences = tuple(one_line(reason.message) for reason in reasons)
    return _with_bodies(message, "rejection", order, settings, reasons=sentences)


def _envelope(order: Order, event_id: UUID, settings: Settings, written_at: datetime | None) -> EmailMessage:
    sender_name, sender_address = parseaddr(settings.mail_from)
    sender = _mailbox(sender_name, sender_address, "MAIL_FROM")
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = _mailbox(order.customer.name, order.customer.email, f"the customer of order {order.number}")
    message["Date"] = written_at or datetime.now(UTC)
    message["Message-ID"] = f"<{event_id}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Waybill-Order"] = order.number
    message["X-Waybill-Reference"] = _in_header(order.reference)
    return message


def _mailbox(name: str, address: str, whose: str) -> Mailbox:
    """A name and an address in the form of a header. A domain beyond ASCII is written in its ASCII form (IDNA)."""
    local, _, domain = address.rpartition("@")
    try:
        ascii_domain = domain.encode("idna").decode()
    except UnicodeError:
        ascii_domain = ""
    if not local or not ascii_domain or not _NOT_IN_ADDRESS.isdisjoint(local + domain) or one_line(address) != address:
        raise EmailError(f"no e-mail can be sent to {whose}: what stands for the e-mail address is none")
    return Mailbox(display_name=_in_header(name), username=local, domain=ascii_domain)


def _in_header(text: str) -> str:
    """One line with single blanks, because the library folds a run of blanks into fewer."""
    return " ".join(one_line(text).split())


def _with_bodies(
    message: EmailMessage, template: str, order: Order, settings: Settings, *, reasons: tuple[str, ...]
) -> EmailMessage:
    shown = {
        "number": order.number,
        "reference": one_line(order.reference),
        "customer": one_line(order.customer.name),
        "placed": order.placed_at.astimezone(UTC).date().isoformat(),
        "address": _address(order),
        "columns": _COLUMNS,
        "rows": _rows(order),
        "table": _text_table(order),
        "net_total": f"{money(order.net_total)} {order.currency}",
        "reasons": reasons,
        "seller": settings,
    }
    for subtype, write in (("plain", message.set_content), ("html", message.add_alternative)):
        suffix = "txt" if subtype == "plain" else subtype
        body = _TEMPLATES.get_template(f"{template}.{suffix}.j2").render(shown)
        write(body, subtype=subtype, charset="utf-8", cte="quoted-printable")
    return message


def _address(order: Order) -> tuple[str, ...]:
    address = order.customer.address
    town = " ".join(part for part in (address.postal_code, address.city) if part)
    return tuple(one_line(part) for part in (address.street, town, address.region, address.country) if part)


def _rows(order: Order) -> list[tuple[str, ...]]:
    """The lines in the order of `_COLUMNS`."""
    return [
        (
            one_line(line.label),
            str(line.quantity),
            unit_price(line.unit_price),
            per_cent(line.discount),
            money(line.net),
        )
        for line in order.lines
    ]


def _text_table(order: Order) -> str:
    """The lines as columns of plain text, figures to the right."""
    rows = _rows(order)
    widths = [max(len(cell) for cell in column) for column in zip(_COLUMNS, *rows, strict=True)]
    ruler = tuple("-" * width for width in widths)
    return "\n".join(_aligned(row, widths) for row in (_COLUMNS, ruler, *rows))


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    figures = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
    return "  ".join((row[0].ljust(widths[0]), *figures))
