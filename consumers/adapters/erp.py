"""Port to an ERP: what a step needs in order to book an order there as one sales document.

`consumers.adapters.erp_factory.make_erp` makes the implementation; `consumers.adapters.sap` is the only one so far.
`tests/contract/erp_contract.py` holds every implementation to the promises of this module.

An ERP does not dedupe. The caller finds before it creates. `ErpUnavailable.uncertain` says whether a document may
exist although the creation failed; the caller then waits out the ERP's longest commit before it finds again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from orders.workflow import ErrorKind


@dataclass(frozen=True, slots=True)
class SalesOrderItem:
    """One line: `unit_price` in the order's currency, `discount` a fraction below 1."""

    sku: str
    quantity: int
    unit_price: Decimal
    discount: Decimal


@dataclass(frozen=True, slots=True)
class SalesOrderDraft:
    """The order to book. `order_number` becomes the customer's reference in the ERP."""

    order_number: str
    order_id: UUID
    currency: str
    items: tuple[SalesOrderItem, ...]


@dataclass(frozen=True, slots=True)
class SalesDocument:
    """The document that the ERP booked; `net_amount` is the ERP's own sum."""

    number: str
    net_amount: Decimal
    currency: str


class ErpError(Exception):
    """A call to the ERP failed. The message says what was asked and what came back.

    `kind` decides what the retry policy does with it.
    """

    kind: ErrorKind


class ErpRefused(ErpError):  # noqa: N818 - named by what the caller decides
    """The ERP refused and will refuse again: an operator must act."""

    kind = ErrorKind.REFUSED


class AmbiguousDocuments(ErpRefused):
    """The ERP has several documents of one order; `numbers` are theirs. An operator cancels all but one there."""

    def __init__(self, message: str, numbers: Sequence[str]) -> None:
        super().__init__(message)
        self.numbers = tuple(numbers)


class ErpUnavailable(ErpError):  # noqa: N818
    """Worth another attempt.

    `uncertain`: a document may have been committed, or may be committed later. `retry_after`: the seconds that the ERP
    asked us to wait, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind = ErrorKind.SERVER,
        uncertain: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.uncertain = uncertain
        self.retry_after = retry_after


class ErpUnreached(ErpUnavailable):
    """No connection was made, so nothing was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind=ErrorKind.CONNECTION)


class Erp(Protocol):
    """One client per event loop. Nothing connects before the first call."""

    async def find(self, order_number: str, order_id: UUID) -> SalesDocument | None:
        """Find the document of this order; None if there is none.

        Number and id must both match, so a document of another system with the same number is never taken for ours.
        Raises AmbiguousDocuments when there are several, ErpUnavailable when the ERP gives no answer.
        """

    async def create(self, draft: SalesOrderDraft) -> SalesDocument:
        """Book the order and return the ERP's document. A call creates one document at most.

        Raises ErpRefused, or ErpUnavailable whose `uncertain` says whether a document may exist all the same.
        """

    async def is_away(self) -> bool:
        """Whether the ERP serves no request of ours: down, blocked, or our log-on is refused. Takes seconds at most."""

    async def aclose(self) -> None:
        """Close the connections."""
