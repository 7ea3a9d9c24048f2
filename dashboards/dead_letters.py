"""*Dead letters*: how many there are, their reasons, and whether they are collected and reported."""

from dashboards.board import Dashboard, Panel, Query, Row
from dashboards.queries import DEAD_LETTER_QUEUES, grown, highest, rate

OPEN = highest("waybill_dead_letters_open", "queue, reason")
NEWEST = f"time() - ({highest('waybill_dead_letters_newest_timestamp_seconds', 'queue, reason')} > 0)"
SWEPT = "time() - min(waybill_collector_last_success_timestamp_seconds)"
IN_THE_BROKER = highest("rabbitmq_queue_messages", "queue", DEAD_LETTER_QUEUES)

NOW = Row(
    "Now",
    (
        Panel(
            "Open",
            "Dead letters that wait for an operator: `waybill dead-letters list` shows them.",
            (Query(f"sum({OPEN})"),),
            kind="number",
            width=6,
            above=(1,),
        ),
        Panel(
            "New",
            "Dead letters stored within the time shown.",
            (Query(grown("waybill_dead_letters_stored_total")),),
            kind="number",
            width=6,
            above=(1,),
        ),
        Panel(
            "Still in the broker",
            "Messages in the dead-letter queues that the collector has not stored yet.",
            (Query(f"sum({IN_THE_BROKER})"),),
            kind="number",
            width=6,
            above=(1,),
        ),
        Panel(
            "Collector's last sweep",
            "Time since the slowest collector last read every dead-letter queue.",
            (Query(SWEPT),),
            unit="s",
            kind="number",
            width=6,
            above=(30, 120),
        ),
        Panel(
            "Open, by queue and reason",
            "Dead letters that wait for an operator, by the queue they died in and the reason.",
            (Query(f"sort_desc({OPEN} > 0)", "dead_letters"),),
            kind="table",
            empty_when_well="no dead letter is open.",
        ),
        Panel(
            "Newest open",
            "Time since the newest open dead letter was stored, by queue and reason.",
            (Query(f"sort({NEWEST})", "ago"),),
            unit="s",
            kind="table",
            empty_when_well="no dead letter is open.",
        ),
        Panel(
            "Open over time",
            "Dead letters that wait for an operator, by the queue they died in.",
            (Query(f"sum by (queue) ({OPEN})", "{{queue}}"),),
            kind="stack",
        ),
    ),
)

COMING = Row(
    "New dead letters",
    (
        Panel(
            "By queue",
            "Dead letters stored a second, by the queue they died in; `unrouted`: no step listens to the event.",
            (Query(rate("waybill_dead_letters_stored_total", "queue"), "{{queue}}"),),
            unit="ops",
        ),
        Panel(
            "By reason",
            "Dead letters stored a second, by reason.",
            (Query(rate("waybill_dead_letters_stored_total", "reason"), "{{reason}}"),),
            unit="ops",
        ),
        Panel(
            "Dead-lettered by steps",
            "Deliveries a second that a step dead-lettered, counted when the collector stores them.",
            (Query(rate("waybill_steps_dead_lettered_total", "step"), "{{step}}"),),
            unit="ops",
        ),
    ),
)

WAY = Row(
    "On their way to the table",
    (
        Panel(
            "Dead-lettered by the broker",
            "Messages a second that a worker rejected, or that were delivered too often without an answer.",
            (
                Query(
                    rate("rabbitmq_global_messages_dead_lettered_rejected_total", where='queue_type=~".*quorum.*"'),
                    "rejected",
                ),
                Query(
                    rate(
                        "rabbitmq_global_messages_dead_lettered_delivery_limit_total",
                        where='queue_type=~".*quorum.*"',
                    ),
                    "delivered too often",
                ),
            ),
            unit="ops",
            width=6,
        ),
        Panel(
            "Dead-lettered by the relay",
            "Messages a second that the broker cannot accept as they are; the relay stores these dead letters itself.",
            (Query(rate("waybill_relay_settled_total", where='outcome="unpublishable"'), "unpublishable"),),
            unit="ops",
            width=6,
        ),
        Panel(
            "In the broker's queues",
            "Messages in each dead-letter queue; they stay only while the collector does not run.",
            (Query(IN_THE_BROKER, "{{queue}}"),),
            width=6,
            above=(1,),
        ),
        Panel(
            "Missing queues",
            "Dead-letter queues that the broker does not have: dead messages stay in the queue of their step.",
            (Query(highest("waybill_collector_missing_queues")),),
            kind="number",
            width=6,
            above=(1,),
        ),
    ),
)

ALERTS = Row(
    "Alerts to the webhook",
    (
        Panel(
            "Messages to the webhook",
            "Messages about dead letters to ALERT_WEBHOOK_URL a second: sent, refused or unanswered.",
            (Query(rate("waybill_alerts_sent_total", "outcome"), "{{outcome}}"),),
            unit="ops",
            width=12,
        ),
        Panel(
            "Collectors running",
            "Time since each collector last read every dead-letter queue.",
            (Query("time() - min by (instance) (waybill_collector_last_success_timestamp_seconds)", "{{instance}}"),),
            unit="s",
            width=12,
            above=(30, 120),
        ),
    ),
)

DEAD_LETTERS = Dashboard(
    uid="waybill-dead-letters",
    title="Dead letters",
    says="How many dead letters there are, their reasons, and whether they are collected and reported.",
    rows=(NOW, COMING, WAY, ALERTS),
)
