"""Metrics of the collector. Names and labels are a contract: docs/metrics.md lists them.

Each label value that is known beforehand exists from the start: a rate over a series that appears with its first event
misses that event. A foreign queue counts as `other`: a message from outside must not create series.
"""

from itertools import product

from prometheus_client import Counter, Gauge

from orders.audit.rules import steps_owed
from orders.counts import UNFINISHED
from orders.workflow import BY_NAME, BY_QUEUE, PROMISED_SECONDS, UNROUTED_QUEUE
from outbox.dead_letter_reason import DeadLetterReason

QUEUES = (*BY_QUEUE, UNROUTED_QUEUE, "other")
LABELS = tuple(product(QUEUES, DeadLetterReason))

DEAD_LETTERS_STORED = Counter(
    "waybill_dead_letters_stored_total", "New dead letters stored by this collector.", ["queue", "reason"]
)
DEAD_LETTERS_OPEN = Gauge(
    "waybill_dead_letters_open", "Dead letters that are open: not replayed, not discarded.", ["queue", "reason"]
)
DEAD_LETTERS_NEWEST = Gauge(
    "waybill_dead_letters_newest_timestamp_seconds",
    "When the newest open dead letter was stored, Unix time; 0 for none.",
    ["queue", "reason"],
)
for _labels in LABELS:
    DEAD_LETTERS_STORED.labels(*_labels)
    DEAD_LETTERS_OPEN.labels(*_labels)
    DEAD_LETTERS_NEWEST.labels(*_labels)
STEPS_DEAD_LETTERED = Counter(
    "waybill_steps_dead_lettered_total",
    "Deliveries that a step dead-lettered, counted when their dead letter is stored.",
    ["step"],
)
for _step in BY_NAME:
    STEPS_DEAD_LETTERED.labels(_step)
COLLECTOR_SUCCESS = Gauge(
    "waybill_collector_last_success_timestamp_seconds",
    "When the collector last swept every queue and stored its messages, Unix time.",
)
MISSING_QUEUES = Gauge(
    "waybill_collector_missing_queues", "Dead-letter queues that the broker does not have, at the last sweep."
)
ALERTS_SENT = Counter(
    "waybill_alerts_sent_total", "Alerts by outcome: sent, refused by the webhook, unanswered.", ["outcome"]
)
for _outcome in ("sent", "refused", "unanswered"):
    ALERTS_SENT.labels(_outcome)
ORDERS_OVERDUE = Gauge(
    "waybill_orders_overdue", "Unfinished orders that wait for an effect longer than its deadline.", ["effect"]
)
for _effect in steps_owed():
    ORDERS_OVERDUE.labels(_effect)
WATCHED = ("overdue", "unfinished", "finished", "promise", "scheduled", "dead_letters")
ORDERS_WATCHED = Gauge(
    "waybill_orders_watch_last_success_timestamp_seconds",
    "When a gauge that is read from Postgres was last refreshed, Unix time.",
    ["figure"],
)
for _figure in WATCHED:
    ORDERS_WATCHED.labels(_figure)
ORDERS = Gauge("waybill_orders", "Orders by status.", ["status"])
# Not the final ones: their first count takes minutes in a large table, and until then 0 would be a lie.
for _status in UNFINISHED:
    ORDERS.labels(_status.value)
ORDERS_OLDEST = Gauge(
    "waybill_orders_oldest_age_seconds", "Age of the oldest unfinished order of a status; 0 for none.", ["status"]
)
ORDERS_DUE = Counter(
    "waybill_orders_due_total",
    f"Orders that have become due, by whether they were finished within their first {PROMISED_SECONDS:.0f} s.",
    ["outcome"],
)
for _outcome in ("in_time", "late"):
    ORDERS_DUE.labels(_outcome)
SCHEDULED = Gauge(
    "waybill_scheduled_messages",
    "Messages scheduled in Postgres: retries, deliveries handed back, replays.",
    ["queue"],
)
for _queue in QUEUES:
    SCHEDULED.labels(_queue)


def queue_label(queue: str | None) -> str:
    """The label of a queue; None means the exchange."""
    return queue if queue is not None and queue in QUEUES else "other"
