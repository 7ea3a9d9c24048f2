"""The completeness audit: the effects that each order of a window owes, compared with those that exist.

`audit` reads our tables first, in one snapshot, and runs the probes of `ops.audit.probes` after it: an effect that the
snapshot records must exist by then. The judgement is `orders.audit.rules`. An effect of an order that the snapshot does
not hold is checked against the tables once more at the end, so an order placed in between leaves no orphan. Called by
`ops.cli.orders_audit` and by the trials in lab.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from ops.audit.probes import Mailbox, ProbeError, SapDocument, SapProbe, numbers_by_order, read_mail, stored
from ops.errors import OpsError
from orders.audit import queries, reconciliation
from orders.audit.queries import OrderRecords, Window
from orders.audit.reconciliation import AuditDifference, SalesDifference, StockDifference
from orders.audit.rules import (
    DuplicateEffect,
    Effect,
    MissingEffect,
    ObservedEffects,
    OrderRecord,
    OrphanEffect,
    find_discrepancies,
)
from orders.model import Status
from orders.workflow import BY_QUEUE
from outbox.envelope import lowest_id
from outbox.partitions.horizon import horizon
from runtime.documents import DocumentStore, DocumentStoreError

T = TypeVar("T")

# Orders that SAP can have a document of: earlier, no step has asked for one.
MAY_BE_IN_SAP = frozenset({Status.RESERVED, Status.SYNCED, Status.FULFILLED, Status.COMPLETED})


class WindowExpiredError(OpsError):
    """The window begins before the inbox's retention: the audit cannot tell whether an effect is missing."""


@dataclass(frozen=True, slots=True)
class Probes:
    """The sources of effects. Where one is absent or does not answer, our own tables are trusted.

    `mail_view` is the URL of the mail sandbox's view. `initial_stock` is the stock before the first order.
    """

    sap: SapProbe | None = None
    mail_view: str | None = None
    documents: DocumentStore | None = None
    initial_stock: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The findings of an audit. `not_seen` holds the probes that did not answer, with the reason.

    `resent` counts second copies of one e-mail, under the same Message-ID. `audit_missing` counts recorded events that
    the audit log lacks, `audit_overdue` those of them past their deadline, `audit_extra` the surplus rows of the log.
    """

    since: datetime
    until: datetime
    taken_at: datetime
    orders: int
    statuses: dict[str, int]
    missing: list[MissingEffect]
    doubled: list[DuplicateEffect]
    orphans: list[OrphanEffect]
    resent: int
    invoice_gaps: int
    audit_missing: int
    audit_overdue: int
    audit_extra: int
    sales_wrong: list[SalesDifference]
    stock_wrong: list[StockDifference]
    not_seen: dict[str, str] = field(default_factory=dict)

    @property
    def overdue(self) -> list[MissingEffect]:
        """The missing effects past their deadline."""
        return [one for one in self.missing if one.overdue]

    @property
    def clean(self) -> bool:
        """Whether no effect is overdue, doubled or without an order, every sum agrees, and every probe answered."""
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
class _Observed:
    """The effects that the probes found; None for a probe that is absent or did not answer."""

    sap: list[SapDocument] | None
    mail: Mailbox | None
    documents: set[str] | None


async def audit(engine: AsyncEngine, probes: Probes, window: Window, deadline: timedelta | None = None) -> AuditReport:
    """Audit every order placed in the window. `deadline`, from placement, replaces each step's own.

    Reads only. Raises WindowExpiredError and the database's errors. A probe that does not answer is listed in the
    report's `not_seen`.
    """
    now = datetime.now(UTC)
    books, sums = await _read(engine, probes, window, deadline)
    not_seen: dict[str, str] = {}
    observed = await _observe(probes, books.orders, not_seen)
    judgement = find_discrepancies(books.orders, _seen(observed, books), now, deadline)
    unknown = [orphan async for orphan in _of_unknown_orders(engine, observed, books)]
    audited = [OrphanEffect("audit", f"event {event} of order {order}") for event, order in sums.audit.of_no_order]
    return AuditReport(
        since=window.since,
        until=window.until,
        taken_at=now,
        orders=len(books.orders),
        statuses=dict(Counter(order.status.value for order in books.orders)),
        missing=judgement.missing,
        doubled=judgement.doubled,
        orphans=[*judgement.orphans, *unknown, *audited],
        resent=_resent(observed.mail, books),
        invoice_gaps=sums.invoice_gaps,
        audit_missing=sums.audit.missing,
        audit_overdue=sums.audit.overdue,
        audit_extra=sums.audit.extra,
        sales_wrong=sums.sales,
        stock_wrong=sums.stock,
        not_seen=not_seen,
    )


async def _read(
    engine: AsyncEngine, probes: Probes, window: Window, deadline: timedelta | None
) -> tuple[OrderRecords, _Sums]:
    """Our tables, read in one snapshot."""
    allowed = timedelta(seconds=BY_QUEUE["audit"].deadline_seconds) if deadline is None else deadline
    one_moment = engine.execution_options(isolation_level="REPEATABLE READ")
    async with one_moment.connect() as tx:
        _refuse_expired(window, await horizon(tx))
        books = await queries.read_orders(tx, window)
        return books, _Sums(
            await reconciliation.invoice_gaps(tx),
            await reconciliation.audit_differences(tx, window, allowed),
            await reconciliation.sales_differences(tx, window),
            await reconciliation.stock_differences(tx, probes.initial_stock) if probes.initial_stock else [],
        )


def _refuse_expired(window: Window, oldest: UUID | None) -> None:
    if oldest is not None and lowest_id(window.since - queries.CLOCK_SKEW) < oldest:
        remembered = datetime.fromtimestamp((oldest.int >> 80) / 1000, UTC) + queries.CLOCK_SKEW
        raise WindowExpiredError(
            f"the inbox keeps nothing from before {remembered:%Y-%m-%d %H:%M} UTC; ask for orders since then"
        )


async def _observe(probes: Probes, orders: Sequence[OrderRecord], not_seen: dict[str, str]) -> _Observed:
    """Run each probe; the error of one that does not answer goes into `not_seen`."""

    async def run(effect: Effect, probe: Awaitable[T] | None) -> T | None:
        try:
            return None if probe is None else await probe
        except (ProbeError, DocumentStoreError) as error:
            not_seen[effect.value] = str(error)
            return None

    in_sap = [order for order in orders if order.status in MAY_BE_IN_SAP]
    keys = [order.document for order in orders if order.document is not None]
    return _Observed(
        await run(Effect.SAP, probes.sap.documents(in_sap) if probes.sap else None),
        await run(Effect.EMAIL, read_mail(probes.mail_view) if probes.mail_view else None),
        await run(Effect.INVOICE, stored(probes.documents, keys) if probes.documents else None),
    )


def _seen(observed: _Observed, books: OrderRecords) -> ObservedEffects:
    """The observed effects by order, as `orders.audit.rules` takes them."""
    sap = mails = None
    if observed.sap is not None:
        sap = numbers_by_order(observed.sap)
    if observed.mail is not None:
        mails = defaultdict(list)
        for event_id in observed.mail.copies:
            if event_id in books.order_of_mail:
                mails[books.order_of_mail[event_id]].append(event_id)
    return ObservedEffects(sap, mails, observed.documents)


def _resent(mail: Mailbox | None, books: OrderRecords) -> int:
    """The number of second copies of e-mails to the window's orders."""
    if mail is None:
        return 0
    return sum(copies - 1 for event_id, copies in mail.copies.items() if event_id in books.order_of_mail)


async def _of_unknown_orders(
    engine: AsyncEngine, observed: _Observed, books: OrderRecords
) -> AsyncIterator[OrphanEffect]:
    """Effects whose order is in none of our tables, in or outside the window."""
    known = {order.id for order in books.orders}
    documents = [one for one in observed.sap or () if one.order_id not in known]
    events = [
        event_id for event_id in (observed.mail.copies if observed.mail else ()) if event_id not in books.order_of_mail
    ]
    async with engine.connect() as tx:
        order_of = await queries.orders_of_mails(tx, events)
        named = {*order_of.values(), *(one.order_id for one in documents if one.order_id is not None)}
        there = await queries.existing(tx, named)
    for one in documents:
        if one.order_id not in there:
            yield OrphanEffect(Effect.SAP, f"document {one.number} for order {one.order_number!r}")
    for event_id in events:
        if order_of.get(event_id) not in there:
            yield OrphanEffect(Effect.EMAIL, f"e-mail {event_id}")
    for message_id in observed.mail.foreign if observed.mail else ():
        yield OrphanEffect(Effect.EMAIL, f"e-mail {message_id}")
