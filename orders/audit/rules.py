"""Judges orders by what is known of them: which effects each owes, what is missing, what was done twice. Pure.

An effect counts as there when it is in its own place (`Seen`), not when a step says so; only where nobody could look is
our own word taken. What is missing is late once its step's deadline has passed since the order was placed, and at once
when its step says that it is done, because then nobody is left who would still do it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from orders.model import Status, StepState
from orders.tracking.progress import REJECTED, Way, heard, leaves_of, where_it_stands
from orders.workflow import BY_NAME, BY_QUEUE, Step, leaf_steps


class Effect(StrEnum):
    """What an order sets off."""

    STOCK = "stock"
    SAP = "sap"
    EMAIL = "email"
    INVOICE = "invoice"
    ANALYTICS = "analytics"
    COMPLETION = "completion"


# The step that does it; its deadline is the effect's.
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
    """A SKU of which an order holds another number of units than its lines ask for."""

    sku: str
    due: int
    reserved: int


@dataclass(frozen=True, slots=True)
class Known:
    """An order by our own tables. `mails`: the events of which an e-mail was sent; `counted`: analytics done."""

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
    way: Way = field(default_factory=Way)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen in the places themselves; None where nobody looked."""

    sap_documents: Mapping[UUID, Sequence[str]] | None = None  # by order
    mails: Mapping[UUID, Sequence[UUID]] | None = None  # events by order, each once
    documents: AbstractSet[str] | None = None  # keys of the document store


@dataclass(frozen=True, slots=True)
class Missing:
    """An effect that an order owes and that is not there. `order` is its number; a leaf step's effect is its queue."""

    order: str
    effect: str
    stands: str
    overdue: bool


@dataclass(frozen=True, slots=True)
class Doubled:
    """An effect that an order has had more than once."""

    order: str
    effect: Effect
    what: str


@dataclass(frozen=True, slots=True)
class Orphan:
    """An effect that nobody owes: there is no such order, or it was rejected. `effect` may be `audit` as well."""

    effect: str
    what: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is wrong with some orders, or not done yet."""

    missing: list[Missing]
    doubled: list[Doubled]
    orphans: list[Orphan]


def owed(status: Status) -> frozenset[Effect]:
    """What an order in this status owes in the end: a rejected one the e-mail that says so, any other everything."""
    return frozenset({Effect.EMAIL}) if status is Status.REJECTED else frozenset(Effect)


def judge(orders: Iterable[Known], seen: Seen, now: datetime, deadline: timedelta | None = None) -> Judgement:
    """Every order against what it owes. `deadline`, from placement, takes the place of each step's own."""
    judgement = Judgement([], [], [])
    for order in orders:
        due = owed(order.status)
        for effect in Effect:
            there = _there(effect, order, seen)
            if effect not in due:
                judgement.orphans.extend(
                    Orphan(effect, f"{what} of {order.number}, which is rejected") for what in there
                )
            elif not there:
                judgement.missing.append(_missing(order, effect, now, deadline))
            elif len(there) > 1:
                judgement.doubled.append(Doubled(order.number, effect, " and ".join(there)))
        judgement.doubled.extend(Doubled(order.number, Effect.STOCK, what) for what in _too_many(order))
        judgement.missing.extend(_missing_leaves(order, now, deadline))
    return judgement


def _there(effect: Effect, order: Known, seen: Seen) -> Sequence[str]:
    """What is there of an effect, a text for each; it should be one."""
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


def _reserved(order: Known) -> Sequence[str]:
    """A rejected order owes no unit, so each SKU that it holds counts; of any other nothing may be short."""
    if order.status is Status.REJECTED:
        return [f"{stock.reserved} units of {stock.sku}" for stock in order.stock if stock.reserved]
    return () if any(stock.reserved < stock.due for stock in order.stock) else ["reservation"]


def _too_many(order: Known) -> Iterator[str]:
    if order.status is not Status.REJECTED:
        for stock in order.stock:
            if stock.reserved > stock.due:
                yield f"{stock.reserved} units of {stock.sku}, {stock.due} ordered"


def _missing(order: Known, effect: Effect, now: datetime, deadline: timedelta | None) -> Missing:
    step = STEP_OF[effect]
    allowed = timedelta(seconds=step.deadline_seconds) if deadline is None else deadline
    event_type = REJECTED if order.status is Status.REJECTED else heard(step)
    known = order.way.steps.get((step.queue, event_type))
    if order.status is Status.COMPLETED or (known is not None and known.state is StepState.DONE):
        lost = f"{step.queue} says it is done, and it is not there{_own_word(effect, order)}"
        return Missing(order.number, effect, lost, overdue=True)
    stands = where_it_stands(step, event_type, order.way, now)
    return Missing(order.number, effect, stands, now - order.placed_at >= allowed)


def _missing_leaves(order: Known, now: datetime, deadline: timedelta | None) -> Iterator[Missing]:
    """The leaf steps that an order owes and that are not done, by the word of their own rows."""
    for step, event_type in leaves_of(order.status, order.way):
        known = order.way.steps.get((step.queue, event_type))
        if known is None or known.state is not StepState.DONE:
            allowed = timedelta(seconds=step.deadline_seconds) if deadline is None else deadline
            text = where_it_stands(step, event_type, order.way, now)
            yield Missing(order.number, step.queue, text, now - order.placed_at >= allowed)


def _own_word(effect: Effect, order: Known) -> str:
    """What our own tables say of an effect that is not there."""
    words = {
        Effect.SAP: order.sap_document and f"document {order.sap_document}",
        Effect.EMAIL: " and ".join(f"e-mail {event}" for event in order.mails),
        Effect.INVOICE: order.document,
    }
    word = words.get(effect)
    return f": {word}" if word else ""
