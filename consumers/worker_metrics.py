"""What the workers count, each in its main process. Names and labels are a contract: docs/metrics.md lists them."""

from prometheus_client import Counter, Gauge

from consumers.outcome import Outcome
from orders.workflow import STEPS

DELIVERIES = Counter(
    "waybill_deliveries_total",
    "Deliveries by how they ended: done, duplicate, stale, busy, retried, away, dead.",
    ["step", "outcome"],
)
for _step in STEPS:
    for _outcome in Outcome:
        DELIVERIES.labels(_step.name, _outcome.value)
CIRCUIT_OPEN = Gauge(
    "waybill_circuit_open", "1 while a queue is not consumed because the outside world is away, else 0.", ["queue"]
)
