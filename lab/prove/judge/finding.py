"""A finding, and the outcome that is due for an order. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lab.prove.judge.facts import Facts
from lab.workload.expectations import ExpectedOrder, Workload
from orders.model import NewOrder

Kind = Literal["lost", "duplicated", "out_of_order", "resent", "unfinished"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` names the effect; `about` is the order's reference, or the name of another thing that it belongs to."""

    kind: Kind
    what: str
    about: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Due:
    """An accepted order: its id, and the outcome that is due."""

    id: str
    one: ExpectedOrder

    @property
    def completes(self) -> bool:
        """Whether it must complete; if not it must be rejected."""
        return self.one.refused_for is None

    @property
    def order(self) -> NewOrder:
        """The order as it was sent."""
        return self.one.order

    @property
    def reference(self) -> str:
        """The client's reference."""
        return self.one.order.reference

    @property
    def notifying_event(self) -> str:
        """The type of the event that the customer's e-mail is sent for."""
        return "order.synced" if self.completes else "order.rejected"


def accepted_orders(workload: Workload, facts: Facts) -> dict[str, Due]:
    """Every order that HTTP accepted, by id."""
    return {due.id: due for due in _accepted(workload, facts)}


def _accepted(workload: Workload, facts: Facts) -> Iterator[Due]:
    for one in workload.orders:
        if order_id := facts.accepted.get(one.order.reference):
            yield Due(order_id, one)
