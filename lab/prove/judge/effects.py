"""Judges the outside effects: SAP's ledger, the mail server's folder, the PDFs. Pure.

A second copy of an e-mail, with the same Message-ID, counts as `resent` if the only process that knew of the first copy
was killed in between; otherwise it counts as `duplicated`.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from lab.prove.judge.facts import DocumentFound, EmailFound, Facts, InvoiceFound, Kill
from lab.prove.judge.finding import Due, Finding

# From the recorded time of a kill to its signal: the pid is read in between.
AIM_SECONDS = 1.0


def effects(facts: Facts, dues: Mapping[str, Due]) -> Iterator[Finding]:
    """The findings on the effects outside."""
    yield from _sap(facts, dues)
    yield from _emails(facts, dues)
    yield from _invoices(facts, dues)


def _once(what: str, found: Sequence[object], due: Due, detail: str = "") -> Iterator[Finding]:
    """A completing order has the effect once, a rejected one never."""
    if due.completes and not found:
        yield Finding("lost", what, due.reference)
    for _ in range(len(found) - due.completes):
        yield Finding("duplicated", what, due.reference, detail)


def _sap(facts: Facts, dues: Mapping[str, Due]) -> Iterator[Finding]:
    """One document per completing order, over its amount."""
    held: defaultdict[str, list[DocumentFound]] = defaultdict(list)
    for document in facts.documents:
        held[document.order_id].append(document)
    for due in dues.values():
        found = held.pop(due.id, [])
        numbers = ", ".join(document.number for document in found)
        yield from _once("SAP document", found, due, numbers)
        if due.completes and any(document.net_amount != due.order.net_total for document in found):
            yield Finding("lost", "amount in SAP", due.reference, f"{numbers}: not {due.order.net_total}")
    for strays in held.values():
        yield from (Finding("duplicated", "SAP document", stray.order_number, stray.number) for stray in strays)


def _emails(facts: Facts, dues: Mapping[str, Due]) -> Iterator[Finding]:
    """One e-mail per order, for the event that it is due for, to its customer."""
    held: defaultdict[str, list[EmailFound]] = defaultdict(list)
    for message in facts.emails:
        held[message.message_id].append(message)
    notifying = {
        event.subject: event.id
        for event in facts.events
        if event.subject in dues and event.type == dues[event.subject].notifying_event
    }
    explanations = _KillsLeft(facts.kills)
    by_event = {_event_of(message_id): message_id for message_id in held}
    for due in dues.values():
        message_id = by_event.get(notifying.get(due.id, ""))
        if message_id is None:
            yield Finding("lost", "e-mail", due.reference)
            continue
        copies = sorted(held.pop(message_id), key=lambda message: message.kept_at)
        if any(message.recipients != (due.order.customer.email,) for message in copies):
            yield Finding("lost", "e-mail to the customer", due.reference, f"{copies[0].file} went elsewhere")
        for first, second in itertools.pairwise(copies):
            apart = f"{first.file} and {second.file}, {second.kept_at - first.kept_at:.1f} s apart"
            yield Finding(
                "resent" if explanations.take(first, second) else "duplicated", "e-mail", due.reference, apart
            )
    for strays in held.values():
        yield from (
            Finding("duplicated", "e-mail", stray.message_id, f"{stray.file} is of no order") for stray in strays
        )


class _KillsLeft:
    """The kills of a proof. Each explains a limited number of second copies."""

    def __init__(self, kills: Sequence[Kill]) -> None:
        self._left = [[kill.at, kill.emails] for kill in sorted(kills, key=lambda kill: kill.at)]

    def take(self, first: EmailFound, second: EmailFound) -> bool:
        """Whether an unused kill between the two copies explains the second; uses it up."""
        for kill in self._left:
            at, emails = kill
            if emails and first.kept_at - AIM_SECONDS <= at <= second.kept_at:
                kill[1] -= 1
                return True
        return False


def _invoices(facts: Facts, dues: Mapping[str, Due]) -> Iterator[Finding]:
    """One invoice with its PDF per completing order; numbers without a gap."""
    held: defaultdict[str, list[InvoiceFound]] = defaultdict(list)
    for invoice in facts.invoices:
        held[invoice.order_id].append(invoice)
    for due in dues.values():
        found = held.pop(due.id, [])
        yield from _once("invoice", found, due)
        for invoice in found:
            if invoice.document not in facts.pdfs:
                yield Finding("lost", "PDF", due.reference, f"{invoice.document} is not in the document store")
    for strays in held.values():
        yield from (Finding("duplicated", "invoice", stray.order_id, "of no order") for stray in strays)
    for key in sorted(facts.pdfs - {invoice.document for invoice in facts.invoices}):
        yield Finding("duplicated", "PDF", key, "of no invoice")
    yield from _gaps(facts)


def _gaps(facts: Facts) -> Iterator[Finding]:
    numbers: defaultdict[str, set[int]] = defaultdict(set)
    for invoice in facts.invoices:
        numbers[invoice.series].add(invoice.sequence)
    for series, taken in numbers.items():
        for missing in sorted(set(range(1, max(taken) + 1)) - taken):
            yield Finding("lost", "invoice number", f"{series}-{missing}", "a gap in the series")


def _event_of(message_id: str) -> str:
    """The event that a Message-ID names: `<event id@domain>`."""
    return message_id.strip("<>").partition("@")[0]
