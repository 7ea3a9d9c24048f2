"""The figures of a demo: what was counted, the times, and the JSON object of its last line. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from lab.demo.facts import StoredOrder
from lab.percentiles import rounded_percentile


@dataclass(frozen=True)
class Counted:
    """The figures of one demo. `duplicates` and `missing` hold counts by kind of effect."""

    orders: int
    completed: int
    rejected: int
    net_total: Decimal
    sap_documents: int
    sap_net_total: Decimal
    emails: int
    invoices: int
    units_moved: int
    stock_matches: bool
    dead_letters: int
    sap_faults_injected: int
    duplicates: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    wrong_outcomes: tuple[str, ...] = ()  # references
    sap_amounts_wrong: int = 0
    invoice_gaps: int = 0
    audit_missing: int = 0
    audit_clean: bool = True

    @property
    def duplicate_effects(self) -> int:
        """All duplicates."""
        return sum(self.duplicates.values())


@dataclass(frozen=True)
class Timings:
    """Milliseconds per POST, milliseconds per completed order, and seconds from first submission to last order."""

    accept_ms: Sequence[float]
    order_ms: Sequence[float]
    seconds: float


def timings(orders: Sequence[StoredOrder], accept_ms: Sequence[float]) -> Timings:
    """The times of a run, by the database's clock alone.

    The first order was sent before it was placed, at most by the time of its POST: that time is added.
    """
    finished = [moment for order in orders if (moment := order.notified_at or order.completed_at) is not None]
    taken = (max(finished) - min(order.placed_at for order in orders)).total_seconds() if finished else 0.0
    return Timings(
        accept_ms=accept_ms,
        order_ms=[
            (order.completed_at - order.placed_at).total_seconds() * 1000
            for order in orders
            if order.status == "completed" and order.completed_at is not None
        ],
        seconds=taken + (accept_ms[0] / 1000 if accept_ms else 0.0),
    )


def figures(counted: Counted, timings: Timings) -> dict[str, object]:
    """The demo's last line: money as text, times rounded to a tenth, null where nothing was timed."""
    return {
        "orders": counted.orders,
        "completed": counted.completed,
        "rejected": counted.rejected,
        "net_total": f"{counted.net_total:.2f}",
        "sap_documents": counted.sap_documents,
        "sap_net_total": f"{counted.sap_net_total:.2f}",
        "emails": counted.emails,
        "invoices": counted.invoices,
        "units_moved": counted.units_moved,
        "stock_matches": counted.stock_matches,
        "dead_letters": counted.dead_letters,
        "sap_faults_injected": counted.sap_faults_injected,
        "duplicate_effects": counted.duplicate_effects,
        "accept_ms_p50": rounded_percentile(timings.accept_ms, 50),
        "accept_ms_p99": rounded_percentile(timings.accept_ms, 99),
        "order_ms_p50": rounded_percentile(timings.order_ms, 50),
        "seconds": round(timings.seconds, 1),
    }
