"""Totals: which sum in Prometheus must equal which count at the place of the effects. Pure.

Counters are summed over instances: no program was restarted, so each counter began at zero. Gauges that are read from
the database are the same in every instance: the largest is taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ops.doctor.prometheus_api import Sample


@dataclass(frozen=True, slots=True)
class Total:
    """`name` is that of the expected total (`lab.observe.expected_totals`); `label` is that of its kinds."""

    name: str
    expression: str
    label: str = ""


TOTALS = (
    Total("orders accepted", "sum(waybill_orders_accepted_total)"),
    Total("orders answered with 202", 'sum(waybill_http_requests_total{route="/orders",method="POST",status="202"})'),
    Total("orders refused by reason", "sum by (reason) (waybill_orders_refused_total)", "reason"),
    Total("orders by status", "max by (status) (waybill_orders)", "status"),
    Total("orders due, by outcome", "max by (outcome) (waybill_orders_due_total)", "outcome"),
    Total("events published", "sum(waybill_relay_published_total)"),
    Total("events confirmed", 'sum(waybill_relay_settled_total{outcome="confirmed"})'),
    Total("scheduled messages that came due", "sum(waybill_relay_scheduled_moved_total)"),
    Total("deliveries done by step", 'sum by (step) (waybill_deliveries_total{outcome="done"})', "step"),
    Total("effects timed by step", "sum by (step) (waybill_commit_to_effect_seconds_count)", "step"),
    Total("deliveries retried by step", 'sum by (step) (waybill_deliveries_total{outcome="retried"})', "step"),
    Total("deliveries handed back by step", 'sum by (step) (waybill_deliveries_total{outcome="away"})', "step"),
    Total("deliveries dead-lettered by step", 'sum by (step) (waybill_deliveries_total{outcome="dead"})', "step"),
    Total("steps dead-lettered, by step", "sum by (step) (waybill_steps_dead_lettered_total)", "step"),
    Total("dead letters stored by queue", "sum by (queue) (waybill_dead_letters_stored_total)", "queue"),
    Total("dead letters open by queue", "sum by (queue) (max by (queue, reason) (waybill_dead_letters_open))", "queue"),
    Total("documents in SAP", 'sum(waybill_deliveries_total{step="sync_order_to_sap",outcome="done"})'),
    Total("e-mails in the mailbox", 'sum(waybill_deliveries_total{step="send_confirmation_email",outcome="done"})'),
    Total("PDFs of invoices", 'sum(waybill_deliveries_total{step="generate_invoice_pdf",outcome="done"})'),
)

Counts = Mapping[str, float]  # by kind; a total without kinds has the kind ""


@dataclass(frozen=True, slots=True)
class ComparedTotal:
    """One total in Prometheus and as expected. A kind with the count 0 equals a missing kind."""

    total: Total
    prometheus: Counts
    expected: Counts

    @property
    def equal(self) -> bool:
        """Whether both counts are equal for every kind."""
        return not self.differing

    @property
    def differing(self) -> list[str]:
        """The kinds on which they differ."""
        kinds = sorted({*self.prometheus, *self.expected})
        return [kind for kind in kinds if self.prometheus.get(kind, 0) != self.expected.get(kind, 0)]


def counts_of(total: Total, samples: Sequence[Sample]) -> dict[str, float]:
    """Prometheus's answer by kind."""
    return {sample.labels.get(total.label, ""): sample.value for sample in samples}
