"""One thing that is not as it had to be, and what each order had to have. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lab.prove.judge.facts import Facts
from lab.workload.expectations import ExpectedOrder, Workload
from orders.model import NewOrder

Kind = Literal["lost", "duplicated", "out_of_order", "resent", "unfinished"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` names the effect, `about` the order (its reference) or whatever else it belongs to."""

    kind: Kind
    what: str
    about: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Due:
    """An accepted order: its id, and what must come of it."""

    id: str
    one: ExpectedOrder

    @property
    def completes(self) -> bool:
        """Whether it must complete; if not it must be rejected."""
        return self.one.refused_for is None

    @property
    def order(self) -> NewOrder:
        """What was sent."""
        return self.one.order

    @property
    def reference(self) -> str:
        """What the client calls it."""
        return self.one.order.reference

    @property
    def notifying_event(self) -> str:
        """The type of the event that its e-mail is about."""
        return "order.synced" if self.completes else "order.rejected"


def accepted_orders(workload: Workload, facts: Facts) -> dict[str, Due]:
    """Every order that HTTP accepted, by id."""
    return {due.id: due for due in _accepted(workload, facts)}


def _accepted(workload: Workload, facts: Facts) -> Iterator[Due]:
    for one in workload.orders:
        if order_id := facts.accepted.get(one.order.reference):
            yield Due(order_id, one)
