"""The SAP sandbox's ledger: documents by number, in a file, with the number of POSTs and the faults of each order.

Like SAP, it does not dedupe on the customer's reference: two POSTs that commit make two documents, so a duplicate
shows. A document is visible once it is on disk and not before. POST counts are in the file too, so a restart neither
repeats a document number nor forgets the number of the next attempt.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from lab.sandbox.journal import Journal, JournalError
from lab.sandbox.sap.faults import Fault
from lab.sandbox.sap.odata_filter import Comparison
from lab.sandbox.sap.order import SalesOrder

_FIRST_NUMBER = 1_000_001


@dataclass(frozen=True, slots=True)
class BookedItem:
    """One line of a document."""

    number: str
    material: str
    quantity: str
    unit: str
    net_amount: str


@dataclass(frozen=True, slots=True)
class Document:
    """One sales order in SAP; `head` holds the posted header properties under their SAP names."""

    number: str
    created_ms: int
    head: dict[str, str]
    items: tuple[BookedItem, ...]
    net_amount: str

    @property
    def order_number(self) -> str:
        """The customer's reference."""
        return self.head["PurchaseOrderByCustomer"]


class Ledger:
    """The documents of one file."""

    def __init__(self, path: Path) -> None:
        """Open the file and read its records. Raises JournalError."""
        self._journal = Journal(path)
        self._documents: dict[str, Document] = {}
        self._by_reference: defaultdict[str, list[Document]] = defaultdict(list)
        self._next_number = _FIRST_NUMBER
        self.attempts: Counter[str] = Counter()
        self.faults: Counter[Fault] = Counter()
        for record in self._journal.replay():
            self._restore(path, record)

    @property
    def documents(self) -> Sequence[Document]:
        """All documents, oldest first."""
        return tuple(self._documents.values())

    def get(self, number: str) -> Document | None:
        """The document of that number."""
        return self._documents.get(number)

    def find(self, comparisons: Sequence[Comparison], top: int) -> list[Document]:
        """The first `top` documents for which every comparison holds."""
        found: list[Document] = []
        for document in self._candidates(comparisons):
            if len(found) == top:
                break
            properties = document.head | {"SalesOrder": document.number}
            if all(comparison.holds(properties) for comparison in comparisons):
                found.append(document)
        return found

    def next_attempt(self, order_number: str) -> int:
        """The number of the order's next POST, from 1."""
        return self.attempts[order_number] + 1

    def note_post(self, order_number: str, fault: Fault | None) -> None:
        """Count a POST and its fault."""
        self._journal.append({"record": "post", "order": order_number, "fault": fault})
        self._count(order_number, fault)

    async def book(self, order: SalesOrder) -> Document:
        """Commit one document; it is on disk when this returns."""
        document = _document(str(self._next_number), order)
        self._next_number += 1
        self._journal.append({"record": "document", **asdict(document)})
        await self._journal.sync()
        self._hold(document)
        return document

    def close(self) -> None:
        """Close the file."""
        self._journal.close()

    def _candidates(self, comparisons: Sequence[Comparison]) -> Sequence[Document]:
        for comparison in comparisons:
            if comparison.name == "PurchaseOrderByCustomer" and comparison.equal:
                return self._by_reference.get(comparison.value, [])
        return self.documents

    def _restore(self, path: Path, record: dict[str, Any]) -> None:
        match record:
            case {"record": "post", "order": str(order), "fault": fault}:
                self._count(order, Fault(fault) if fault else None)
            case {"record": "document", "number": str(number), "items": list(items), **rest}:
                booked = tuple(BookedItem(**item) for item in items)
                self._hold(Document(number=number, items=booked, **rest))
                self._next_number = max(self._next_number, int(number) + 1)
            case _:
                raise JournalError(f"{path} holds a record that is not a ledger's: {record!r}")

    def _count(self, order_number: str, fault: Fault | None) -> None:
        self.attempts[order_number] += 1
        if fault is not None:
            self.faults[fault] += 1

    def _hold(self, document: Document) -> None:
        self._documents[document.number] = document
        self._by_reference[document.order_number].append(document)


def _document(number: str, order: SalesOrder) -> Document:
    nets = [item.net_amount() for item in order.to_item]
    items = tuple(
        BookedItem(
            number=str(position * 10),
            material=item.material,
            quantity=format(item.requested_quantity, "f"),
            unit=item.requested_quantity_unit,
            net_amount=str(net),
        )
        for position, (item, net) in enumerate(zip(order.to_item, nets, strict=True), 1)
    )
    head = order.model_dump(by_alias=True, exclude={"to_item"})
    return Document(number, time.time_ns() // 1_000_000, head, items, str(sum(nets, Decimal(0))))
