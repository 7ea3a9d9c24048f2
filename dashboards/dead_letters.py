"""*Dead letters*: what was given up, why, and whether somebody looks after it."""

from dashboards.board import Dashboard, Panel, Query, Row
from dashboards.queries import DEAD_LETTER_QUEUES, grown, highest, rate

OPEN = highest("waybill_dead_letters_open", "queue, reason")
NEWEST = f"time() - ({highest('waybill_dead_letters_newest_timestamp_seconds', 'queue, reason')} > 0)"
LOOKED = "time() - min(waybill_collector_last_success_timestamp_seconds)"
IN_THE_BROKER = highest("rabbitmq_queue_messages", "queue", DEAD_LETTER_QUEUES)

NOW = Row(
    "Now",
    (
        Panel(
            "Open",
            "Dead letters that wait for somebody: `waybill dead-letters list` shows them.",
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
            "Messages in the dead-letter queues, which the collector has not taken yet.",
            (Query(f"sum({IN_THE_BROKER})"),),
            kind="number",
            width=6,
            above=(1,),
        ),
        Panel(
            "Collector looked",
            "Time since the slowest collector has last looked through every dead-letter queue.",
            (Query(LOOKED),),
            unit="s",
            kind="number",
            width=6,
            above=(30, 120),
        ),
        Panel(
            "Open, by queue and reason",
            "What waits for somebody, by the queue it died in and why.",
            (Query(f"sort_desc({OPEN} > 0)", "letters"),),
            kind="table",
            empty_when_well="no dead letter is open.",
        ),
        Panel(
            "Newest open",
            "How long ago the newest letter that waits for somebody was stored, by queue and reason.",
            (Query(f"sort({NEWEST})", "ago"),),
            unit="s",
            kind="table",
            empty_when_well="no dead letter is open.",
        ),
        Panel(
            "Open over time",
            "Dead letters that wait for somebody, by the queue they died in.",
            (Query(f"sum by (queue) ({OPEN})", "{{queue}}"),),
            kind="stack",
        ),
    ),
)

COMING = Row(
    "What comes",
    (
        Panel(
            "By queue",
            "Dead letters stored a second, by the queue they died in; `unrouted`: nobody listens to the event.",
            (Query(rate("waybill_dead_letters_stored_total", "queue"), "{{queue}}"),),
            unit="ops",
        ),
        Panel(
            "By reason",
            "Dead letters stored a second, by why they died.",
            (Query(rate("waybill_dead_letters_stored_total", "reason"), "{{reason}}"),),
            unit="ops",
        ),
        Panel(
            "Given up by steps",
            "Deliveries a second that a step gave up, counted when their letter is stored.",
            (Query(rate("waybill_steps_given_up_total", "step"), "{{step}}"),),
            unit="ops",
        ),
    ),
)

WAY = Row(
    "On their way here",
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
            "Set aside by the relay",
            "Messages a second that the broker cannot be given as they are; the relay stores their letters itself.",
            (Query(rate("waybill_relay_settled_total", where='outcome="unpublishable"'), "unpublishable"),),
            unit="ops",
            width=6,
        ),
        Panel(
            "In the broker's queues",
            "Messages in each dead-letter queue; they stay only while the collector does not work.",
            (Query(IN_THE_BROKER, "{{queue}}"),),
            width=6,
            above=(1,),
        ),
        Panel(
            "Missing queues",
            "Dead-letter queues that the broker does not have: what dies stays in the queue of its step.",
            (Query(highest("waybill_collector_missing_queues")),),
            kind="number",
            width=6,
            above=(1,),
        ),
    ),
)

TOLD = Row(
    "Whom it was told",
    (
        Panel(
            "Messages to the webhook",
            "Messages about dead letters to ALERT_WEBHOOK_URL a second: sent, refused or unanswered.",
            (Query(rate("waybill_alerts_sent_total", "outcome"), "{{outcome}}"),),
            unit="ops",
            width=12,
        ),
        Panel(
            "Collectors at work",
            "Time since each collector has last looked through every dead-letter queue.",
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
    says="What was given up, why, and whether it was collected and told.",
    rows=(NOW, COMING, WAY, TOLD),
)
