"""Sets what landed against what had to: the figures of a demo, and each beside the one that was due. Pure."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from lab.demo.facts import Email, Landed, StoredOrder
from lab.demo.figures import Counted
from lab.workload.expectations import DemoOrder, DemoSet
from orders.model import NewOrder


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report: what, where it was counted, what was found, what had to be."""

    what: str
    where: str
    found: str
    expected: str

    @property
    def right(self) -> bool:
        """Whether it is as it had to be."""
        return self.found == self.expected


def count(demo: DemoSet, landed: Landed) -> Counted:
    """The figures of a demo."""
    by_reference = {order.reference: order for order in landed.orders}
    emails = _by_order(landed.emails, by_reference)
    statuses = Counter(order.status for order in landed.orders)
    documents = sum(len(numbers) for numbers in landed.sap_documents.values())
    return Counted(
        orders=len(landed.orders),
        completed=statuses["completed"],
        rejected=statuses["rejected"],
        net_total=demo.net_total,
        sap_documents=documents,
        sap_net_total=sum(landed.sap_net_totals.values(), Decimal("0.00")),
        emails=sum(_told(one, by_reference.get(one.order.reference), emails) for one in demo.orders),
        invoices=sum(_invoiced(order, by_reference.get(order.reference), landed.invoices) for order in demo.completing),
        units_moved=sum(product.stock - landed.available.get(product.sku, 0) for product in demo.products),
        stock_matches=dict(landed.available) == demo.stock_at_end,
        dead_letters=landed.dead_letters,
        sap_faults_injected=landed.sap_faults,
        duplicates={
            "SAP documents": documents - len(landed.sap_documents),
            "e-mails": sum(len(found) - 1 for found in emails.values()),
            "e-mails of no order": len(landed.emails) - sum(len(found) for found in emails.values()),
            "invoices": max(landed.invoice_files - len(landed.invoices), 0),
            "reservations": landed.reservations_wrong,
            "sales figures": landed.sales_wrong,
            "audit rows": landed.audit_extra,
        },
        wrong_outcomes=tuple(
            one.order.reference for one in demo.orders if not _as_due(one, by_reference.get(one.order.reference))
        ),
        sap_amounts_wrong=_amounts_wrong(demo, by_reference, landed.sap_net_totals),
        invoice_gaps=landed.invoice_gaps,
        audit_missing=landed.audit_missing,
    )


def checks(demo: DemoSet, counted: Counted) -> list[Check]:
    """Every figure beside what it had to be; the demo went well if all are right."""
    completing, refused = len(demo.completing), len(demo.refused)
    units = sum(demo.units.values())
    wrong = ", ".join(counted.wrong_outcomes[:5]) or "none"
    rows: list[tuple[str, str, object, object]] = [
        ("orders accepted", "orders table", counted.orders, completing + refused),
        ("orders completed", "orders table", counted.completed, completing),
        ("orders rejected", "orders table", counted.rejected, refused),
        ("orders with another outcome than due", "orders table", wrong, "none"),
        ("sales documents", "SAP's ledger", counted.sap_documents, completing),
        (f"net total, {demo.currency}", "SAP's ledger", counted.sap_net_total, counted.net_total),
        ("orders with another amount in SAP", "SAP's ledger", counted.sap_amounts_wrong, 0),
        ("e-mails with the right content", "mail inbox", counted.emails, completing + refused),
        ("invoices with the right content", "PDFs from the API", counted.invoices, completing),
        ("gaps in the invoice numbers", "invoices table", counted.invoice_gaps, 0),
        ("units moved", "stock table", counted.units_moved, units),
        ("stock of every product as due", "stock table", _yes(counted.stock_matches), "yes"),
        ("events missing from the audit log", "audit log", counted.audit_missing, 0),
        ("dead letters", "queues and outbox", counted.dead_letters, 0),
        *((f"duplicates: {kind}", "all of the above", number, 0) for kind, number in counted.duplicates.items()),
    ]
    return [Check(what, where, str(found), str(expected)) for what, where, found, expected in rows]


def mentions(text: str, word: str) -> bool:
    """Whether a text holds a word on its own: not `NW-1024` in `NW-10248`, nor `4.50` in `1234.50`."""
    return re.search(rf"(?<![\w.-]){re.escape(word)}(?![\w-])(?!\.\w)", text) is not None


def _by_order(emails: Iterable[Email], references: Iterable[str]) -> dict[str, list[Email]]:
    """The e-mails by the reference that they name."""
    known = set(references)
    found: defaultdict[str, list[Email]] = defaultdict(list)
    for email in emails:
        named = known.intersection(word.strip(".,;:()") for word in email.text.split())
        if len(named) == 1:
            found[named.pop()].append(email)
    return found


def _told(one: DemoOrder, stored: StoredOrder | None, emails: Mapping[str, Sequence[Email]]) -> bool:
    """Whether an e-mail to this customer says what it must: the total, or why not."""
    if stored is None:
        return False
    due = one.order
    for email in emails.get(due.reference, ()):
        if email.recipients != (due.customer.email,):
            continue
        if one.refused_for is None and mentions(email.text, f"{due.net_total:.2f}"):
            return True
        if one.refused_for is not None and _says_why(email.text, stored):
            return True
    return False


def _says_why(text: str, stored: StoredOrder) -> bool:
    return bool(stored.reasons) and all(" ".join(sentence.split()) in text for _, sentence in stored.reasons)


def _invoiced(due: NewOrder, stored: StoredOrder | None, texts: Mapping[str, str]) -> bool:
    if stored is None or stored.invoice_number is None or stored.id not in texts:
        return False
    text = texts[stored.id]
    return all(mentions(text, word) for word in (stored.invoice_number, due.reference, f"{due.net_total:.2f}"))


def _as_due(one: DemoOrder, stored: StoredOrder | None) -> bool:
    """Whether an order ended as it had to, and a rejected one for the SKU that is at fault."""
    if stored is None:
        return False
    if one.refused_for is None:
        return stored.status == "completed"
    at_fault = one.refused_for
    return stored.status == "rejected" and any(
        sku == at_fault or mentions(sentence, at_fault) for sku, sentence in stored.reasons
    )


def _amounts_wrong(demo: DemoSet, stored: Mapping[str, StoredOrder], totals: Mapping[str, Decimal]) -> int:
    due = {stored[order.reference].number: order for order in demo.completing if order.reference in stored}
    return sum(number not in due or due[number].net_total != total for number, total in totals.items())


def _yes(value: bool) -> str:
    return "yes" if value else "no"
