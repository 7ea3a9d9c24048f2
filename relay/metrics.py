"""What the relay counts. Names and labels are a contract: docs/metrics.md lists them."""

from prometheus_client import Counter, Gauge, Histogram

PUBLISHED = Counter("waybill_relay_published_total", "Messages handed to the broker, repeats included.")
SETTLED = Counter("waybill_relay_settled_total", "Messages settled by the broker.", ["outcome"])
COMMIT_TO_CONFIRM = Histogram(
    "waybill_relay_commit_to_confirm_seconds",
    "From the recording of an event to the broker's confirm.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 300),
)
IN_FLIGHT = Gauge("waybill_relay_in_flight_messages", "Messages published and not yet settled.")
PAGE_EVENTS = Histogram(
    "waybill_relay_page_events", "Events per confirmed page.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
)
LEADER = Gauge("waybill_relay_leader", "1 while this relay leads, else 0.")
EPOCH = Gauge("waybill_relay_epoch", "The epoch of this relay's reign.")
SCHEDULED_MOVED = Counter("waybill_relay_scheduled_moved_total", "Due rows turned into events.")
MISSING_DESTINATIONS = Gauge("waybill_relay_missing_destinations", "Required queues that the broker does not have.")
SEGMENTS_LEFT = Gauge("waybill_outbox_segments_left", "Whole segments of the events table that stand ahead.")
