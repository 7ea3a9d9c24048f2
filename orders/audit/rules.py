"""The audit's rules: which effects each order owes, which are missing, which were done twice. Pure.

An effect is there when its own system has it (`ObservedEffects`), not when a step's row says so. For a system that did
not answer, our own tables count. A leaf step has no other system: its row counts. A missing effect is overdue when its
step's deadline, counted from the order's placement, has passed. It is overdue at once when its step's row is done: no
delivery is left that would still do it. Facts come from `orders.audit.queries` and `ops.audit.probes`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from orders.model import Status, StepState
from orders.tracking.progress import REJECTED, OrderProgress
from orders.tracking.waiting import blocking_step, leaves_of, trigger_of
from orders.workflow import BY_NAME, BY_QUEUE, Step, leaf_steps


class Effect(StrEnum):
    """The effects of an order."""

    STOCK = "stock"
    SAP = "sap"
    EMAIL = "email"
    INVOICE = "invoice"
    ANALYTICS = "analytics"
    COMPLETION = "completion"


# The step that has the effect; its deadline is the effect's.
STEP_OF: dict[Effect, Step] = {
    Effect.STOCK: BY_QUEUE["inventory"],
    Effect.SAP: BY_QUEUE["sap"],
    Effect.EMAIL: BY_QUEUE["email"],
    Effect.INVOICE: BY_QUEUE["invoice"],
    Effect.ANALYTICS: BY_QUEUE["analytics"],
    Effect.COMPLETION: BY_QUEUE["finalization"],
}


def steps_owed() -> dict[str, Step]:
    """The step of each effect, and each leaf step under the name of its queue: it is an effect of its own."""
    leaves = {BY_NAME[name].queue: BY_NAME[name] for name in leaf_steps()}
    return {**{effect.value: step for effect, step in STEP_OF.items()}, **leaves}


@dataclass(frozen=True, slots=True)
class Stock:
    """A SKU whose reserved units are not the number that the order's lines ask for."""

    sku: str
    due: int
    reserved: int


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """An order in our own tables.

    `mails` are the events that an e-mail was sent for. `counted` is how often analytics ran.
    """

    id: UUID
    number: str
    status: Status
    placed_at: datetime
    sap_document: str | None = None
    invoice: str | None = None
    document: str | None = None
    stock: Sequence[Stock] = ()
    mails: Sequence[UUID] = ()
    counted: int = 0
    progress: OrderProgress = field(default_factory=OrderProgress)


@dataclass(frozen=True, slots=True)
class ObservedEffects:
    """The effects found in their own systems; None for a system that was not asked or did not answer."""

    sap_documents: Mapping[UUID, Sequence[str]] | None = None  # by order
    mails: Mapping[UUID, Sequence[UUID]] | None = None  # events by order, each once
    documents: AbstractSet[str] | None = None  # keys of the document store


@dataclass(frozen=True, slots=True)
class MissingEffect:
    """An effect that an order owes and that is not there. `order` is its number; a leaf step's effect is its queue."""

    order: str
    effect: str
    blocked_by: str
    overdue: bool


@dataclass(frozen=True, slots=True)
class DuplicateEffect:
    """An effect that an order has had more than once."""

    order: str
    effect: Effect
    what: str


@dataclass(frozen=True, slots=True)
class OrphanEffect:
    """An effect that no order owes: its order does not exist, or was rejected. `effect` may be `audit` as well."""

    effect: str
    what: str


@dataclass(frozen=True, slots=True)
class Discrepancies:
    """The effects that are missing, doubled or without an order."""

    missing: list[MissingEffect]
    doubled: list[DuplicateEffect]
    orphans: list[OrphanEffect]


def owed(status: Status) -> frozenset[Effect]:
    """The effects that an order of this status owes: a rejected one the e-mail about the rejection, any other all."""
    return frozenset({Effect.EMAIL}) if status is Status.REJECTED else frozenset(Effect)


def find_discrepancies(
    orders: Iterable[OrderRecord], seen: ObservedEffects, now: datetime, deadline: timedelta | None = None
) -> Discrepancies:
    """Compare every order with the effects that it owes. `deadline`, from placement, replaces each step's own."""
    judgement = Discrepancies([], [], [])
    for order in orders:
        due = owed(order.status)
        for effect in Effect:
            there = _there(effect, order, seen)
            if effect not in due:
                judgement.orphans.extend(
                    OrphanEffect(effect, f"{what} of {order.number}, which is rejected") for what in there
                )
            elif not there:
                judgement.missing.append(_missing(order, effect, now, deadline))
            elif len(there) > 1:
                judgement.doubled.append(DuplicateEffect(order.number, effect, " and ".join(there)))
        judgement.doubled.extend(DuplicateEffect(order.number, Effect.STOCK, what) for what in _too_many(order))
        judgement.missing.extend(_missing_leaves(order, now, deadline))
    return judgement


def _there(effect: Effect, order: OrderRecord, seen: ObservedEffects) -> Sequence[str]:
    """A text for each time that an effect is there; it should be one."""
    match effect:
        case Effect.STOCK:
            return _reserved(order)
        case Effect.SAP:
            own = () if order.sap_document is None else (order.sap_document,)
            found = own if seen.sap_documents is None else seen.sap_documents.get(order.id, ())
            return [f"document {number}" for number in found]
        case Effect.EMAIL:
            events = order.mails if seen.mails is None else seen.mails.get(order.id, ())
            return [f"e-mail {event}" for event in events]
        case Effect.INVOICE:
            stored = order.document is not None and (seen.documents is None or order.document in seen.documents)
            return [f"invoice {order.invoice}"] if stored else ()
        case Effect.ANALYTICS:
            return ["sales figures"] * order.counted
        case Effect.COMPLETION:
            return ["completion"] if order.status is Status.COMPLETED else ()


def _reserved(order: OrderRecord) -> Sequence[str]:
    """Of a rejected order each SKU with reserved units; of any other one text if no unit is short."""
    if order.status is Status.REJECTED:
        return [f"{stock.reserved} units of {stock.sku}" for stock in order.stock if stock.reserved]
    return () if any(stock.reserved < stock.due for stock in order.stock) else ["reservation"]


def _too_many(order: OrderRecord) -> Iterator[str]:
    if order.status is not Status.REJECTED:
        for stock in order.stock:
            if stock.reserved > stock.due:
                yield f"{stock.reserved} units of {stock.sku}, {stock.due} ordered"


def _missing(order: OrderRecord, effect: Effect, now: datetime, deadline: timedelta | None) -> MissingEffect:
    step = STEP_OF[effect]
    allowed = timedelta(seconds=step.deadline_seconds) if deadline is None else deadline
    event_type = REJECTED if order.status is Status.REJECTED else trigger_of(step)
    known = order.progress.steps.get((step.queue, event_type))
    if order.status is Status.COMPLETED or (known is not None and known.state is StepState.DONE):
        lost = f"{step.queue} says it is done, and it is not there{_own_word(effect, order)}"
        return MissingEffect(order.number, effect, lost, overdue=True)
    blocked_by = blocking_step(step, event_type, order.progress, now)
    return MissingEffect(order.number, effect, blocked_by, now - order.placed_at >= allowed)


def _missing_leaves(order: OrderRecord, now: datetime, deadline: timedelta | None) -> Iterator[MissingEffect]:
    """The leaf steps that an order owes and that are not done, by their own rows."""
    for step, event_type in leaves_of(order.status, order.progress):
        known = order.progress.steps.get((step.queue, event_type))
        if known is None or known.state is not StepState.DONE:
            allowed = timedelta(seconds=step.deadline_seconds) if deadline is None else deadline
            text = blocking_step(step, event_type, order.progress, now)
            yield MissingEffect(order.number, step.queue, text, now - order.placed_at >= allowed)


def _own_word(effect: Effect, order: OrderRecord) -> str:
    """The trace of a missing effect in our own tables."""
    words = {
        Effect.SAP: order.sap_document and f"document {order.sap_document}",
        Effect.EMAIL: " and ".join(f"e-mail {event}" for event in order.mails),
        Effect.INVOICE: order.document,
    }
    word = words.get(effect)
    return f": {word}" if word else ""
