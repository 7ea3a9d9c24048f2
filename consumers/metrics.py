"""What the consumers count. Names and labels are a contract: docs/metrics.md lists them."""

from prometheus_client import Gauge

from orders.judgement import Effect

ORDERS_OVERDUE = Gauge(
    "waybill_orders_overdue", "Unfinished orders that wait for an effect longer than its deadline.", ["effect"]
)
for _effect in Effect:
    ORDERS_OVERDUE.labels(_effect.value)
ORDERS_WATCHED = Gauge(
    "waybill_orders_watch_last_success_timestamp_seconds", "When overdue orders were last counted, Unix time."
)
