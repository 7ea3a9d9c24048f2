"""The metrics of the workers, each kept in its main process. Names and labels are a contract: docs/metrics.md.

A worker exports the series of its own steps and queues only, and those from its start: `consumers.worker.counters` and
`consumers.worker.circuit` make them.
"""

from prometheus_client import Counter, Gauge, Histogram

from orders.workflow import PROMISED_SECONDS

DELIVERIES = Counter(
    "waybill_deliveries_total",
    "Deliveries by result: done, duplicate, stale, busy, retried, away, dead.",
    ["step", "outcome"],
)
STEP_SECONDS = Histogram(
    "waybill_step_seconds",
    "One attempt at a step in a child, whatever its result: done, retried, away, dead.",
    ["step"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
COMMIT_TO_EFFECT = Histogram(
    "waybill_commit_to_effect_seconds",
    "From the acceptance of an order to a step that is done, by the event that the step reacted to.",
    ["step", "event"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, PROMISED_SECONDS, 120, 300, 900, 3600, 14_400),
)
RUNNING = Gauge("waybill_deliveries_running", "Deliveries that run in children.", ["step"])
BUSY_SECONDS = Counter("waybill_worker_busy_seconds_total", "Seconds that children spent on deliveries.", ["pool"])
CHILDREN = Gauge("waybill_worker_children", "Children that the worker is configured to have.", ["pool"])
CHILDREN_LOST = Counter(
    "waybill_worker_children_lost_total", "Deliveries whose child died: killed, or ended at Celery's limit.", ["pool"]
)
REPORTS_LOST = Counter(
    "waybill_worker_reports_lost_total",
    "Deliveries that no other metric counts: the children's pipe was full.",
    ["pool"],
)
CIRCUIT_OPEN = Gauge(
    "waybill_circuit_open", "1 while a queue is not consumed because the outside world is away, else 0.", ["queue"]
)
