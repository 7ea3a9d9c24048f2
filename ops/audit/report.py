"""The completeness ledger: every order of a window against the effects that it owes, as typed data.

Our own tables are read first, as of one moment, and the places of the effects after it: what was true then is there by
now. What a place holds of orders that the first look did not know is held against the tables once more at the end, so
an order that was placed in between is nobody's orphan.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from ops.audit.probes import Mail, PlaceError, SapDocument, SapPlace, numbers_by_order, read_mail, stored
from ops.errors import OpsError
from orders.audit import queries, reconciliation
from orders.audit.queries import Books, Window
from orders.audit.reconciliation import AuditDifference, SalesDifference, StockDifference
from orders.audit.rules import Doubled, Effect, Known, Missing, Orphan, Seen, judge
from orders.model import Status
from orders.workflow import BY_QUEUE
from outbox.envelope import lowest_id
from outbox.partitions.expire_inbox import horizon
from runtime.documents import DocumentStore, DocumentStoreError

T = TypeVar("T")

# What SAP can have a document of: before, no step has asked for one.
MAY_BE_IN_SAP = frozenset({Status.RESERVED, Status.SYNCED, Status.FULFILLED, Status.COMPLETED})


class ForgottenError(OpsError):
    """The window begins before what the inbox still remembers: whether an effect is missing cannot be told."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look. Without a place, or while it does not answer, our own tables are believed.

    `mail_view` is the address of the inbox's view. `initial_stock` is what there was before the first order of all.
    """

    sap: SapPlace | None = None
    mail_view: str | None = None
    documents: DocumentStore | None = None
    initial_stock: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found. `not_seen`: places that were asked and did not answer, with the reason.

    `resent` counts second copies of one e-mail, which bear its Message-ID. `audit_missing` counts recorded events that
    the audit log lacks, `audit_overdue` those that it should have by now, `audit_extra` its rows too many.
    """

    since: datetime
    until: datetime
    taken_at: datetime
    orders: int
    statuses: dict[str, int]
    missing: list[Missing]
    doubled: list[Doubled]
    orphans: list[Orphan]
    resent: int
    invoice_gaps: int
    audit_missing: int
    audit_overdue: int
    audit_extra: int
    sales_wrong: list[SalesDifference]
    stock_wrong: list[StockDifference]
    not_seen: dict[str, str] = field(default_factory=dict)

    @property
    def overdue(self) -> list[Missing]:
        """What should be there by now."""
        return [one for one in self.missing if one.overdue]

    @property
    def clean(self) -> bool:
        """Whether nothing is overdue, done twice or without an order, every sum agrees, and every place was seen."""
        wrong = (self.overdue, self.doubled, self.orphans, self.sales_wrong, self.stock_wrong, self.not_seen)
        counted = (self.invoice_gaps, self.audit_overdue, self.audit_extra)
        return not any(wrong) and not any(counted)


@dataclass(frozen=True, slots=True)
class _Sums:
    invoice_gaps: int
    audit: AuditDifference
    sales: list[SalesDifference]
    stock: list[StockDifference]


@dataclass(frozen=True, slots=True)
class _Looked:
    """What the places hold, None for one that was not seen."""

    sap: list[SapDocument] | None
    mail: Mail | None
    documents: set[str] | None


async def audit(engine: AsyncEngine, places: Places, window: Window, deadline: timedelta | None = None) -> Report:
    """Every order placed in the window. `deadline`, from placement, takes the place of each step's own.

    Reads only. Raises ForgottenError, and what the database raises; a place that does not answer is in the report's
    `not_seen`.
    """
    now = datetime.now(UTC)
    books, sums = await _read(engine, places, window, deadline)
    not_seen: dict[str, str] = {}
    looked = await _look(places, books.orders, not_seen)
    judgement = judge(books.orders, _seen(looked, books), now, deadline)
    strangers = [orphan async for orphan in _strangers(engine, looked, books)]
    audited = [Orphan("audit", f"event {event} of order {order}") for event, order in sums.audit.of_no_order]
    return Report(
        since=window.since,
        until=window.until,
        taken_at=now,
        orders=len(books.orders),
        statuses=dict(Counter(order.status.value for order in books.orders)),
        missing=judgement.missing,
        doubled=judgement.doubled,
        orphans=[*judgement.orphans, *strangers, *audited],
        resent=_resent(looked.mail, books),
        invoice_gaps=sums.invoice_gaps,
        audit_missing=sums.audit.missing,
        audit_overdue=sums.audit.overdue,
        audit_extra=sums.audit.extra,
        sales_wrong=sums.sales,
        stock_wrong=sums.stock,
        not_seen=not_seen,
    )


async def _read(engine: AsyncEngine, places: Places, window: Window, deadline: timedelta | None) -> tuple[Books, _Sums]:
    """Our own tables as of one moment."""
    allowed = timedelta(seconds=BY_QUEUE["audit"].deadline_seconds) if deadline is None else deadline
    one_moment = engine.execution_options(isolation_level="REPEATABLE READ")
    async with one_moment.connect() as tx:
        _refuse_forgotten(window, await horizon(tx))
        books = await queries.read_books(tx, window)
        return books, _Sums(
            await reconciliation.invoice_gaps(tx),
            await reconciliation.audit_differences(tx, window, allowed),
            await reconciliation.sales_differences(tx, window),
            await reconciliation.stock_differences(tx, places.initial_stock) if places.initial_stock else [],
        )


def _refuse_forgotten(window: Window, oldest: UUID | None) -> None:
    if oldest is not None and lowest_id(window.since - queries.CLOCK_SKEW) < oldest:
        remembered = datetime.fromtimestamp((oldest.int >> 80) / 1000, UTC) + queries.CLOCK_SKEW
        raise ForgottenError(
            f"the inbox has forgotten what came before {remembered:%Y-%m-%d %H:%M} UTC; ask for orders since then"
        )


async def _look(places: Places, orders: Sequence[Known], not_seen: dict[str, str]) -> _Looked:
    """Look into each place; why one was not seen goes into `not_seen`."""

    async def seen(effect: Effect, looking: Awaitable[T] | None) -> T | None:
        try:
            return None if looking is None else await looking
        except (PlaceError, DocumentStoreError) as error:
            not_seen[effect.value] = str(error)
            return None

    in_sap = [order for order in orders if order.status in MAY_BE_IN_SAP]
    keys = [order.document for order in orders if order.document is not None]
    return _Looked(
        await seen(Effect.SAP, places.sap.documents(in_sap) if places.sap else None),
        await seen(Effect.EMAIL, read_mail(places.mail_view) if places.mail_view else None),
        await seen(Effect.INVOICE, stored(places.documents, keys) if places.documents else None),
    )


def _seen(looked: _Looked, books: Books) -> Seen:
    """What was seen, by order."""
    sap = mails = None
    if looked.sap is not None:
        sap = numbers_by_order(looked.sap)
    if looked.mail is not None:
        mails = defaultdict(list)
        for event_id in looked.mail.copies:
            if event_id in books.order_of_mail:
                mails[books.order_of_mail[event_id]].append(event_id)
    return Seen(sap, mails, looked.documents)


def _resent(mail: Mail | None, books: Books) -> int:
    """Second copies of the e-mails of the window's orders."""
    if mail is None:
        return 0
    return sum(copies - 1 for event_id, copies in mail.copies.items() if event_id in books.order_of_mail)


async def _strangers(engine: AsyncEngine, looked: _Looked, books: Books) -> AsyncIterator[Orphan]:
    """Effects of which no table of ours knows an order, whatever the window."""
    known = {order.id for order in books.orders}
    documents = [one for one in looked.sap or () if one.order_id not in known]
    events = [
        event_id for event_id in (looked.mail.copies if looked.mail else ()) if event_id not in books.order_of_mail
    ]
    async with engine.connect() as tx:
        order_of = await queries.orders_of_mails(tx, events)
        named = {*order_of.values(), *(one.order_id for one in documents if one.order_id is not None)}
        there = await queries.existing(tx, named)
    for one in documents:
        if one.order_id not in there:
            yield Orphan(Effect.SAP, f"document {one.number} for order {one.order_number!r}")
    for event_id in events:
        if order_of.get(event_id) not in there:
            yield Orphan(Effect.EMAIL, f"e-mail {event_id}")
    for message_id in looked.mail.foreign if looked.mail else ():
        yield Orphan(Effect.EMAIL, f"e-mail {message_id}")
