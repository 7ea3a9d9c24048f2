"""*Relay*: whether one relay leads, and how soon every recorded event reaches the broker."""

from dashboards.board import Dashboard, Panel, Query, Row, State
from dashboards.queries import BLIND, SEGMENTS, highest, quantiles, rate, seen, total

NO, YES = State("no", "green"), State("yes", "red")
READ = "time() - max by (instance) (waybill_relay_monitor_last_success_timestamp_seconds)"
POSTGRES_READ = "time() - max by (instance) (waybill_relay_monitor_postgres_last_success_timestamp_seconds)"
LEFT = f"min by (table) (waybill_outbox_segments_left unless on (instance) {BLIND})"

NOW = Row(
    "Now",
    (
        Panel(
            "Leaders",
            "Relays that report that they lead: one, except for the seconds of a hand-over.",
            (Query(total("waybill_relay_leader")),),
            kind="number",
            width=6,
            below=(1,),
        ),
        Panel(
            "Epoch",
            "The number of the latest term; it rises with each change of leader.",
            (Query(highest("waybill_relay_epoch")),),
            kind="number",
            width=6,
        ),
        Panel(
            "Segments ahead",
            "The share of segments that are ready, of those that a leader keeps ahead; an alert fires below half.",
            (Query(SEGMENTS, "{{table}}"),),
            unit="percentunit",
            kind="number",
            width=6,
            below=(0.5, 0.75),
        ),
        Panel(
            "Missing queues",
            "Queues that must exist and do not; nothing is published meanwhile.",
            (Query(highest("waybill_relay_missing_destinations")),),
            kind="number",
            width=6,
            above=(1,),
        ),
        Panel(
            "Leader",
            "The relay that leads, and those that stand by.",
            (Query(highest("waybill_relay_leader", "instance"), "{{instance}}"),),
            kind="states",
            width=12,
            states=(State("stands by", "blue"), State("leads", "green")),
        ),
        Panel(
            "Publishing stopped",
            "Whether a missing queue holds publishing, or an alarm of the broker blocks it.",
            (
                Query(highest("waybill_relay_publishing_held"), "held"),
                Query(highest("waybill_relay_broker_blocked"), "blocked"),
            ),
            kind="states",
            width=12,
            states=(NO, YES),
        ),
    ),
)

PUBLISHING = Row(
    "Publishing",
    (
        Panel(
            "Published and confirmed",
            "Messages a second handed to the broker, repeats included, and those that it has confirmed.",
            (
                Query(rate("waybill_relay_published_total"), "published"),
                Query(rate("waybill_relay_settled_total", where='outcome="confirmed"'), "confirmed"),
            ),
            unit="ops",
        ),
        Panel(
            "From commit to confirm",
            "From the recording of an event to the broker's confirm.",
            quantiles("waybill_relay_commit_to_confirm_seconds"),
            unit="s",
        ),
        Panel(
            "Not taken",
            "Messages a second that the broker nacked or returned, or that cannot be published at all.",
            (Query(rate("waybill_relay_settled_total", "outcome", 'outcome!="confirmed"'), "{{outcome}}"),),
            unit="ops",
        ),
        Panel(
            "Pages",
            "Pages a second that were confirmed whole; the cursor advances past each.",
            (Query(rate("waybill_relay_page_events_count"), "pages"),),
            unit="ops",
        ),
        Panel(
            "Events of a page",
            "Events in a confirmed page: one when the relay is idle, many when it catches up.",
            quantiles("waybill_relay_page_events"),
        ),
        Panel(
            "In flight and open",
            "Messages not yet answered by the broker, and events read that the cursor has not advanced past.",
            (
                Query(total("waybill_relay_in_flight_messages"), "in flight"),
                Query(total("waybill_relay_open_events"), "open"),
            ),
        ),
    ),
)

BACKLOG = Row(
    "Backlog",
    (
        Panel(
            "Unpublished events",
            "Recorded events that the cursor has not advanced past, an estimate.",
            (Query(seen("waybill_outbox_backlog_events"), "backlog"),),
        ),
        Panel(
            "Oldest unpublished event",
            "Its age: it grows whatever prevents publishing.",
            (Query(seen("waybill_outbox_oldest_unpublished_age_seconds"), "age"),),
            unit="s",
            above=(60,),
        ),
        Panel(
            "Oldest writing transaction",
            "The age of the oldest open transaction that has written: its own events wait for its end.",
            (Query(seen("waybill_outbox_oldest_transaction_age_seconds"), "age"),),
            unit="s",
            above=(120,),
        ),
        Panel(
            "Due messages moved",
            "Due messages a second that the leader moved into the outbox.",
            (Query(rate("waybill_relay_scheduled_moved_total"), "moved"),),
            unit="ops",
        ),
        Panel(
            "Waiting for their time",
            "Messages that wait in Postgres, by queue: retries, deliveries that were handed back, replays.",
            (Query(highest("waybill_scheduled_messages", "queue"), "{{queue}}"),),
        ),
        Panel(
            "Segments ahead over time",
            "Whole segments that are ready, and the number that a leader keeps ahead; a million ids each.",
            (
                Query(LEFT, "{{table}}"),
                Query(highest("waybill_outbox_segments_wanted", "table"), "{{table}}, wanted"),
            ),
        ),
    ),
)

HEALTH = Row(
    "Health",
    (
        Panel(
            "Sessions ended",
            "Sessions a second that ended without a request to stop, by the lost resource.",
            (Query(rate("waybill_relay_sessions_ended_total", "reason"), "{{reason}}"),),
            unit="ops",
            width=12,
        ),
        Panel(
            "Figures read",
            "Time since each relay's monitor read the figures of the database shown here.",
            (Query(READ, "{{instance}}, outbox"), Query(POSTGRES_READ, "{{instance}}, Postgres")),
            unit="s",
            width=12,
            above=(30, 120),
        ),
    ),
)

RELAY = Dashboard(
    uid="waybill-relay",
    title="Relay",
    says="The leader, how soon events reach the broker, what waits, and what stops publishing.",
    rows=(NOW, PUBLISHING, BACKLOG, HEALTH),
)
