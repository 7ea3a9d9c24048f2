"""Counts what landed and sets each figure beside the one that was due. Pure.

Completeness, duplicates and the sums that must agree are the audit's findings. Three checks of contents are the demo's
own: the text of each e-mail, the text of each PDF, and each order's amount in SAP.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from lab.demo.facts import Landed, StoredOrder
from lab.demo.figures import Counted
from lab.effects import Email
from lab.workload.expectations import ExpectedOrder, Workload
from ops.audit.report import AuditReport
from orders.audit.rules import Effect
from orders.model import NewOrder


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report: a figure's name, where it was counted, its value, and the value that was due."""

    name: str
    where: str
    found: str
    due: str

    @property
    def correct(self) -> bool:
        """Whether it is as it had to be."""
        return self.found == self.due


def count(workload: Workload, landed: Landed) -> Counted:
    """The figures of a demo."""
    by_reference = {order.reference: order for order in landed.orders}
    emails = _by_order(landed.emails, by_reference)
    statuses, audit = landed.audit.statuses, landed.audit
    return Counted(
        orders=audit.orders,
        completed=statuses.get("completed", 0),
        rejected=statuses.get("rejected", 0),
        net_total=workload.net_total,
        sap_documents=landed.sap.document_count,
        sap_net_total=sum(landed.sap.net_totals.values(), Decimal("0.00")),
        emails=sum(_email_correct(one, by_reference, emails) for one in workload.orders),
        invoices=sum(_invoice_correct(order, by_reference, landed.invoices) for order in workload.completing),
        units_moved=sum(product.stock - landed.available.get(product.sku, 0) for product in workload.products),
        stock_matches=dict(landed.available) == workload.stock_at_end,
        dead_letters=landed.dead_letters,
        sap_faults_injected=landed.sap.faults_injected,
        duplicates=_duplicates(audit, max(landed.invoice_files - len(landed.invoices), 0)),
        missing=Counter(str(one.effect) for one in audit.missing),
        wrong_outcomes=tuple(
            one.order.reference
            for one in workload.orders
            if not _outcome_correct(one, by_reference.get(one.order.reference))
        ),
        sap_amounts_wrong=_amounts_wrong(workload, by_reference, landed.sap.net_totals),
        invoice_gaps=audit.invoice_gaps,
        audit_missing=audit.audit_missing,
        audit_clean=audit.clean,
    )


def _duplicates(audit: AuditReport, files_of_no_invoice: int) -> dict[str, int]:
    """Effects too many by kind: had twice by an order, or had by no order that owes them."""
    doubled = Counter(one.effect.value for one in audit.doubled)
    orphans = Counter(str(one.effect) for one in audit.orphans)
    return {
        "SAP documents": doubled[Effect.SAP] + orphans[Effect.SAP],
        "e-mails": doubled[Effect.EMAIL] + audit.resent,
        "e-mails of no order": orphans[Effect.EMAIL],
        "invoices": doubled[Effect.INVOICE] + orphans[Effect.INVOICE] + files_of_no_invoice,
        "reservations": doubled[Effect.STOCK] + orphans[Effect.STOCK],
        "sales figures": doubled[Effect.ANALYTICS] + orphans[Effect.ANALYTICS] + len(audit.sales_wrong),
        "completions": doubled[Effect.COMPLETION] + orphans[Effect.COMPLETION],
        "audit rows": audit.audit_extra + orphans["audit"],
    }


def checks(workload: Workload, counted: Counted) -> list[Check]:
    """Every figure beside the one due; the demo went well if all are correct."""
    completing, refused = len(workload.completing), len(workload.refused)
    units = sum(workload.units.values())
    wrong = ", ".join(counted.wrong_outcomes[:5]) or "none"
    missing = ", ".join(f"{number} {effect}" for effect, number in counted.missing.items()) or "none"
    rows: list[tuple[str, str, object, object]] = [
        ("orders accepted", "orders table", counted.orders, completing + refused),
        ("orders completed", "orders table", counted.completed, completing),
        ("orders rejected", "orders table", counted.rejected, refused),
        ("orders with another outcome than due", "orders table", wrong, "none"),
        ("sales documents", "SAP's ledger", counted.sap_documents, completing),
        (f"net total, {workload.currency}", "SAP's ledger", counted.sap_net_total, counted.net_total),
        ("orders with another amount in SAP", "SAP's ledger", counted.sap_amounts_wrong, 0),
        ("e-mails with the right content", "mail inbox", counted.emails, completing + refused),
        ("invoices with the right content", "PDFs from the API", counted.invoices, completing),
        ("gaps in the invoice numbers", "completeness audit", counted.invoice_gaps, 0),
        ("units moved", "stock table", counted.units_moved, units),
        ("stock of every product as due", "stock table", _yes(counted.stock_matches), "yes"),
        ("events missing from the audit log", "completeness audit", counted.audit_missing, 0),
        ("effects missing", "completeness audit", missing, "none"),
        *((f"duplicates: {kind}", "completeness audit", number, 0) for kind, number in counted.duplicates.items()),
        ("everything complete, each sum agrees", "completeness audit", _yes(counted.audit_clean), "yes"),
        ("dead letters", "queues and outbox", counted.dead_letters, 0),
    ]
    return [Check(name, where, str(found), str(due)) for name, where, found, due in rows]


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


def _email_correct(
    one: ExpectedOrder, stored: Mapping[str, StoredOrder], emails: Mapping[str, Sequence[Email]]
) -> bool:
    """Whether an e-mail to the customer holds the order's total, or every reason for its rejection."""
    due = one.order
    order = stored.get(due.reference)
    addressed = [mail for mail in emails.get(due.reference, ()) if mail.recipients == (due.customer.email,)]
    if order is None:
        return False
    if one.refused_for is None:
        return any(mentions(mail.text, f"{due.net_total:.2f}") for mail in addressed)
    return any(_names_reasons(mail.text, order) for mail in addressed)


def _names_reasons(text: str, stored: StoredOrder) -> bool:
    return bool(stored.reasons) and all(" ".join(sentence.split()) in text for _, sentence in stored.reasons)


def _invoice_correct(due: NewOrder, stored: Mapping[str, StoredOrder], texts: Mapping[str, str]) -> bool:
    """Whether the PDF of an order's invoice holds its number, the client's reference and the total."""
    order = stored.get(due.reference)
    if order is None or order.invoice_number is None or order.id not in texts:
        return False
    text = texts[order.id]
    return all(mentions(text, word) for word in (order.invoice_number, due.reference, f"{due.net_total:.2f}"))


def _outcome_correct(one: ExpectedOrder, stored: StoredOrder | None) -> bool:
    """Whether an order ended as it had to, and a rejected one for the SKU that is at fault."""
    if stored is None:
        return False
    if one.refused_for is None:
        return stored.status == "completed"
    at_fault = one.refused_for
    return stored.status == "rejected" and any(
        sku == at_fault or mentions(sentence, at_fault) for sku, sentence in stored.reasons
    )


def _amounts_wrong(workload: Workload, stored: Mapping[str, StoredOrder], totals: Mapping[str, Decimal]) -> int:
    due = {stored[order.reference].number: order for order in workload.completing if order.reference in stored}
    return sum(number not in due or due[number].net_total != total for number, total in totals.items())


def _yes(value: bool) -> str:
    return "yes" if value else "no"
