"""*Broker and database*: the load of RabbitMQ and Postgres, and their distance from their limits."""

from dashboards.board import Dashboard, Panel, Query, Row, State
from dashboards.queries import SEGMENTS, STEP_QUEUES, highest, rate, seen, seen_of_postgres, share, total

QUORUM = 'queue_type=~".*quorum.*"'  # "quorum" or, in RabbitMQ 3, "rabbit_quorum_queue"
CONNECTIONS = seen_of_postgres("waybill_postgres_connections", "state")
# By each relay's reading, as connections change their state.
TAKEN = seen_of_postgres(total("waybill_postgres_connections", "instance"))
ALLOWED = highest("waybill_postgres_connections_max")
DEAD = seen_of_postgres("waybill_postgres_dead_tuples", "table")
LIVE = seen_of_postgres("waybill_postgres_live_tuples", "table")

QUEUES = Row(
    "Queues",
    (
        Panel(
            "Ready",
            "Messages in each step's queue that no worker has taken yet.",
            (Query(highest("rabbitmq_queue_messages_ready", "queue", STEP_QUEUES), "{{queue}}"),),
        ),
        Panel(
            "Unacknowledged",
            "Messages of each step's queue that a worker has and has not acknowledged.",
            (Query(highest("rabbitmq_queue_messages_unacked", "queue", STEP_QUEUES), "{{queue}}"),),
        ),
        Panel(
            "Consumers",
            "Workers that consume each queue; none during an outage or while no worker runs.",
            (Query(highest("rabbitmq_queue_consumers", "queue", STEP_QUEUES), "{{queue}}"),),
        ),
        Panel(
            "All queues now",
            "Messages in every queue, the dead-letter queues included, longest first.",
            (Query(f"sort_desc({highest('rabbitmq_queue_messages', 'queue')})", "messages"),),
            kind="table",
        ),
        Panel(
            "Received and delivered",
            "Messages a second: from publishers (workers' heartbeats included), to consumers, and to consumers again.",
            (
                Query(rate("rabbitmq_global_messages_received_total"), "received"),
                Query(rate("rabbitmq_global_messages_delivered_total", where=QUORUM), "delivered"),
                Query(rate("rabbitmq_global_messages_acknowledged_total", where=QUORUM), "acknowledged"),
                Query(rate("rabbitmq_global_messages_redelivered_total", where=QUORUM), "delivered again"),
            ),
            unit="ops",
        ),
        # The broker's count of dropped messages is not shown: only the workers' heartbeats are dropped, never an event.
        Panel(
            "Returned",
            "Messages a second for one queue that does not exist; they return to the relay, which waits for the queue.",
            (Query(rate("rabbitmq_global_messages_unroutable_returned_total"), "returned"),),
            unit="ops",
        ),
    ),
)

BROKER = Row(
    "RabbitMQ",
    (
        Panel(
            "Alarms",
            "Whether the broker is short of memory or disk; it accepts no messages then.",
            (
                Query(highest("rabbitmq_alarms_memory_used_watermark"), "memory"),
                Query(highest("rabbitmq_alarms_free_disk_space_watermark"), "disk"),
            ),
            kind="states",
            width=24,
            states=(State("no", "green"), State("yes", "red")),
        ),
        Panel(
            "Memory",
            "The memory that each node uses, and the limit at which it blocks publishers.",
            (
                Query("max by (instance) (rabbitmq_process_resident_memory_bytes)", "{{instance}}"),
                Query("min(rabbitmq_resident_memory_limit_bytes)", "limit"),
            ),
            unit="bytes",
        ),
        Panel(
            "Disk",
            "The free disk of each node, and the limit below which it blocks publishers.",
            (
                Query("min by (instance) (rabbitmq_disk_space_available_bytes)", "{{instance}}"),
                Query("max(rabbitmq_disk_space_available_limit_bytes)", "limit"),
            ),
            unit="bytes",
        ),
        Panel(
            "Connections and channels",
            "Those of the relay, the workers and the collector; each has few, and keeps them.",
            (
                Query(total("rabbitmq_connections"), "connections"),
                Query(total("rabbitmq_channels"), "channels"),
            ),
        ),
    ),
)

POSTGRES = Row(
    "PostgreSQL",
    (
        Panel(
            "Connections in use",
            "The share of those that the server allows; an alert fires from 80 % on.",
            (Query(f"{TAKEN} / {ALLOWED}"),),
            unit="percentunit",
            kind="number",
            width=6,
            above=(0.6, 0.8),
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
            "Oldest snapshot",
            "The age of the oldest open transaction, also one that only reads: vacuum keeps the rows that died since.",
            (Query(seen_of_postgres("waybill_postgres_oldest_snapshot_age_seconds")),),
            unit="s",
            kind="number",
            width=6,
            above=(600, 3600),
        ),
        Panel(
            "Oldest writing transaction",
            "The age of the oldest open transaction that has written: its own events wait for its end.",
            (Query(seen("waybill_outbox_oldest_transaction_age_seconds")),),
            unit="s",
            kind="number",
            width=6,
            above=(30, 120),
        ),
        Panel(
            "Connections",
            "Connections of the whole server by state, and the number allowed.",
            (
                Query(CONNECTIONS, "{{state}}"),
                Query(ALLOWED, "allowed"),
            ),
        ),
        Panel(
            "Dead rows",
            "Dead rows of our tables that vacuum has not removed yet.",
            (Query(DEAD, "{{table}}"),),
        ),
        Panel(
            "Share of dead rows",
            "The share of dead rows in each table; autovacuum begins at about a fifth, at half it does not keep up.",
            (Query(share(DEAD, f"({LIVE} + {DEAD})", of_nothing=0), "{{table}}"),),
            unit="percentunit",
        ),
        Panel(
            "Open transactions",
            "The age of the oldest one, also one that only reads, and of the oldest that has written.",
            (
                Query(seen_of_postgres("waybill_postgres_oldest_snapshot_age_seconds"), "any"),
                Query(seen("waybill_outbox_oldest_transaction_age_seconds"), "has written"),
            ),
            unit="s",
            width=12,
        ),
        Panel(
            "Rows",
            "Live rows of our tables, as Postgres estimates them.",
            (Query(LIVE, "{{table}}"),),
            width=12,
        ),
    ),
)

BROKER_AND_DATABASE = Dashboard(
    uid="waybill-broker-and-database",
    title="Broker and database",
    says="The load of RabbitMQ and Postgres, and their distance from their limits.",
    rows=(QUEUES, BROKER, POSTGRES),
)
