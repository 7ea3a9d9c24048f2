"""Metrics of the relay. Names and labels are a contract: docs/metrics.md lists them.

Each label value that is known beforehand exists from the start: a rate over a series that appears with its first event
misses that event.
"""

from prometheus_client import Counter, Gauge, Histogram

from outbox.segments import EVENTS, PAGES

PUBLISHED = Counter("waybill_relay_published_total", "Messages handed to the broker, repeats included.")
SETTLED = Counter(
    "waybill_relay_settled_total",
    "Messages by outcome: confirmed, nacked, returned, unpublishable.",
    ["outcome"],
)
for _outcome in ("confirmed", "nacked", "returned", "unpublishable"):
    SETTLED.labels(_outcome)
COMMIT_TO_CONFIRM = Histogram(
    "waybill_relay_commit_to_confirm_seconds",
    "From the recording of an event to the broker's confirm.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 300),
)
IN_FLIGHT = Gauge("waybill_relay_in_flight_messages", "Messages published and not yet settled.")
OPEN_EVENTS = Gauge("waybill_relay_open_events", "Events read that the cursor has not advanced past.")
PAGE_EVENTS = Histogram(
    "waybill_relay_page_events", "Events per confirmed page.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
)
LEADER = Gauge("waybill_relay_leader", "1 while this relay leads, else 0.")
EPOCH = Gauge("waybill_relay_epoch", "The epoch of this relay's latest term; 0 before its first.")
SESSIONS_ENDED = Counter(
    "waybill_relay_sessions_ended_total", "Sessions that ended otherwise than by a stop, by reason.", ["reason"]
)
for _reason in ("broker", "database", "fenced", "recovery"):
    SESSIONS_ENDED.labels(_reason)
BLOCKED = Gauge("waybill_relay_broker_blocked", "1 while the broker blocks publishing (memory or disk alarm), else 0.")
HELD = Gauge("waybill_relay_publishing_held", "1 while publishing is held: a required queue is missing; else 0.")
SCHEDULED_MOVED = Counter("waybill_relay_scheduled_moved_total", "Due rows turned into events.")
MISSING_DESTINATIONS = Gauge("waybill_relay_missing_destinations", "Required queues that the broker does not have.")
SEGMENTS_LEFT = Gauge("waybill_outbox_segments_left", "Whole segments of a table that exist ahead.", ["table"])
SEGMENTS_WANTED = Gauge(
    "waybill_outbox_segments_wanted", "Whole segments of a table that a leader keeps ahead.", ["table"]
)
for _series in (EVENTS, PAGES):
    SEGMENTS_LEFT.labels(_series.table)
    SEGMENTS_WANTED.labels(_series.table).set(_series.ahead)
BACKLOG = Gauge("waybill_outbox_backlog_events", "Estimate of the events that the cursor has not advanced past.")
OLDEST_UNPUBLISHED = Gauge(
    "waybill_outbox_oldest_unpublished_age_seconds",
    "Age of the oldest event that the cursor has not advanced past; 0 for none.",
)
OLDEST_TRANSACTION = Gauge(
    "waybill_outbox_oldest_transaction_age_seconds", "Age of the oldest open transaction that has written; 0 for none."
)
CONNECTION_STATES = ("active", "idle", "idle_in_transaction", "other")
CONNECTIONS = Gauge("waybill_postgres_connections", "Client connections of the whole server, by state.", ["state"])
for _state in CONNECTION_STATES:
    CONNECTIONS.labels(_state)
CONNECTIONS_MAX = Gauge("waybill_postgres_connections_max", "Connections that the server allows: max_connections.")
OLDEST_SNAPSHOT = Gauge(
    "waybill_postgres_oldest_snapshot_age_seconds",
    "Age of the oldest open transaction, also one that only reads: vacuum removes no row that died since; 0 for none.",
)
LIVE_TUPLES = Gauge("waybill_postgres_live_tuples", "Estimate of a table's live rows, partitions included.", ["table"])
DEAD_TUPLES = Gauge(
    "waybill_postgres_dead_tuples", "Estimate of a table's rows that wait for vacuum, partitions included.", ["table"]
)
MONITOR_SUCCESS = Gauge(
    "waybill_relay_monitor_last_success_timestamp_seconds",
    "When the relay's monitor last read the outbox's figures, Unix time.",
)
POSTGRES_SUCCESS = Gauge(
    "waybill_relay_monitor_postgres_last_success_timestamp_seconds",
    "When the relay's monitor last read Postgres's own figures, Unix time.",
)


def not_leading() -> None:
    """Reset the gauges of a relay whose session has ended: it does not lead and has nothing in flight."""
    for gauge in (LEADER, IN_FLIGHT, OPEN_EVENTS, BLOCKED, HELD, MISSING_DESTINATIONS):
        gauge.set(0)
