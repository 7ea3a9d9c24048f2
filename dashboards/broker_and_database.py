"""*Broker and database*: what RabbitMQ and Postgres carry, and how far from their limits they are."""

from dashboards.board import Dashboard, Panel, Query, Row, State
from dashboards.queries import SEGMENTS, STEP_QUEUES, highest, rate, seen, seen_of_postgres, share, total

QUORUM = 'queue_type=~".*quorum.*"'  # "quorum" or, in RabbitMQ 3, "rabbit_quorum_queue"
CONNECTIONS = seen_of_postgres("waybill_postgres_connections", "state")
# By each relay's look, as connections change their state.
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
            "Workers that consume each queue; none, while the outside world is away or no worker runs.",
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
            "Messages a second from publishers, the workers' heartbeats included, to consumers, and to them again.",
            (
                Query(rate("rabbitmq_global_messages_received_total"), "received"),
                Query(rate("rabbitmq_global_messages_delivered_total", where=QUORUM), "delivered"),
                Query(rate("rabbitmq_global_messages_acknowledged_total", where=QUORUM), "acknowledged"),
                Query(rate("rabbitmq_global_messages_redelivered_total", where=QUORUM), "delivered again"),
            ),
            unit="ops",
        ),
        # What is dropped is no figure of ours: the workers' heartbeats go to nobody, and an event never does.
        Panel(
            "Returned",
            "Messages a second for one queue that is not there; the relay has them back and waits for the queue.",
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
            "Whether the broker is short of memory or disk; it takes no messages then.",
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
            "What each node uses, and where it blocks publishers.",
            (
                Query("max by (instance) (rabbitmq_process_resident_memory_bytes)", "{{instance}}"),
                Query("min(rabbitmq_resident_memory_limit_bytes)", "limit"),
            ),
            unit="bytes",
        ),
        Panel(
            "Disk",
            "What each node has left, and under which it blocks publishers.",
            (
                Query("min by (instance) (rabbitmq_disk_space_available_bytes)", "{{instance}}"),
                Query("max(rabbitmq_disk_space_available_limit_bytes)", "limit"),
            ),
            unit="bytes",
        ),
        Panel(
            "Connections and channels",
            "Of the relay, the workers and the collector; each has few, and keeps them.",
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
            "Of those that the server allows; people are told from 80 % on.",
            (Query(f"{TAKEN} / {ALLOWED}"),),
            unit="percentunit",
            kind="number",
            width=6,
            above=(0.6, 0.8),
        ),
        Panel(
            "Segments ahead",
            "Segments that stand ready, of those that a leader keeps ahead; people are told below a quarter.",
            (Query(SEGMENTS, "{{table}}"),),
            unit="percentunit",
            kind="number",
            width=6,
            below=(0.25, 0.5),
        ),
        Panel(
            "Oldest snapshot",
            "The age of the oldest open transaction, also one that only reads: vacuum keeps what has died since.",
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
            "Connections of the whole server by what they do, and how many there may be.",
            (
                Query(CONNECTIONS, "{{state}}"),
                Query(ALLOWED, "allowed"),
            ),
        ),
        Panel(
            "Dead rows",
            "Rows of our tables that are dead and not yet vacuumed away.",
            (Query(DEAD, "{{table}}"),),
        ),
        Panel(
            "Share of dead rows",
            "Dead rows of all rows of a table; autovacuum begins at about a fifth, at half it does not get through.",
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
    says="What RabbitMQ and Postgres carry, and how far from their limits they are.",
    rows=(QUEUES, BROKER, POSTGRES),
)
