"""The first schema: orders and their effects; the outbox with its cursor, inbox, schedule and dead letters.

Partitions are not made here: `outbox.partitions.create` makes them, after each migration and while the relay runs.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from outbox.tables import PgSnapshot, Xid8

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _catalogue()
    _orders()
    _effects()
    op.execute("CREATE SCHEMA outbox")
    _outbox_events()
    _outbox_cursor()
    _outbox_inbox()
    _outbox_dead_letters()


def downgrade() -> None:
    op.execute("DROP SCHEMA outbox CASCADE")
    for table in (
        "audit_log",
        "sales_by_day",
        "invoices",
        "invoice_series",
        "reservations",
        "order_attempts",
        "order_steps",
        "order_lines",
        "orders",
        "product_prices",
        "products",
    ):
        op.drop_table(table)
    op.execute("DROP SEQUENCE order_numbers")


def _catalogue() -> None:
    """Products and their prices."""
    op.create_table(
        "products",
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sellable", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("available", sa.Integer(), nullable=False, comment="units that can still be sold"),
        sa.CheckConstraint("available >= 0", name="never_below_zero"),
        sa.PrimaryKeyConstraint("sku"),
    )
    op.create_table(
        "product_prices",
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("unit_price", sa.Numeric(precision=18, scale=4), nullable=False),
        sa.ForeignKeyConstraint(
            ["sku"],
            ["products.sku"],
        ),
        sa.PrimaryKeyConstraint("sku", "currency", "unit_price"),
    )


def _orders() -> None:
    """Orders, their lines, and the progress of their steps."""
    op.execute("CREATE SEQUENCE order_numbers")
    # Most orders are finished: the partial index has only the few that are not.
    op.create_table(
        "orders",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column(
            "number",
            sa.Text(),
            server_default=sa.text("'WB-' || to_char(nextval('order_numbers'), 'FM999999999900000000')"),
            nullable=False,
        ),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("customer_name", sa.Text(), nullable=False),
        sa.Column("customer_email", sa.Text(), nullable=False),
        sa.Column("street", sa.Text(), nullable=False),
        sa.Column("city", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=True),
        sa.Column("postal_code", sa.Text(), nullable=True),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("net_total", sa.Numeric(precision=18, scale=2), nullable=False),
        sa.Column("open_joins", postgresql.ARRAY(sa.Text()), nullable=False, comment="joined steps that are not done"),
        sa.Column(
            "leaf_steps",
            postgresql.ARRAY(sa.Text()),
            nullable=False,
            comment="leaf steps of the table it was placed with",
        ),
        sa.Column("reject_reasons", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("sap_document", sa.Text(), nullable=True),
        sa.Column("placed_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(status = 'rejected') = (reject_reasons IS NOT NULL)", name="rejected_with_reasons"),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_form"),
        sa.CheckConstraint(
            "status IN ('pending', 'validated', 'reserved', 'synced', 'fulfilled', 'completed', 'rejected')",
            name="status_known",
        ),
        sa.CheckConstraint("length(number) <= 35", name="number_fits_sap"),
        sa.CheckConstraint("length(reference) BETWEEN 1 AND 100", name="reference_length"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("number"),
        sa.UniqueConstraint("reference"),
    )
    op.create_index(
        "orders_newest", "orders", [sa.literal_column("placed_at DESC"), sa.literal_column("id DESC")], unique=False
    )
    op.create_index(
        "orders_unfinished",
        "orders",
        ["placed_at"],
        unique=False,
        postgresql_where=sa.text("status NOT IN ('completed', 'rejected')"),
    )
    op.create_table(
        "order_lines",
        sa.Column("order_id", sa.UUID(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False, comment="from 1"),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("unit_price", sa.Numeric(precision=18, scale=4), nullable=False),
        sa.Column("discount", sa.Numeric(precision=9, scale=8), nullable=False),
        sa.Column("net", sa.Numeric(precision=18, scale=2), nullable=False),
        sa.CheckConstraint("discount >= 0 AND discount < 1", name="discount_a_fraction"),
        sa.CheckConstraint("quantity > 0", name="quantity_positive"),
        sa.CheckConstraint("unit_price >= 0", name="unit_price_not_negative"),
        sa.ForeignKeyConstraint(
            ["order_id"],
            ["orders.id"],
        ),
        sa.PrimaryKeyConstraint("order_id", "position"),
    )
    op.create_table(
        "order_steps",
        sa.Column("order_id", sa.UUID(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False, comment="the task's name"),
        sa.Column("event_type", sa.Text(), nullable=False, comment="what the step reacted to"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('pending', 'running', 'retrying', 'done', 'dead')", name="state_known"),
        sa.ForeignKeyConstraint(
            ["order_id"],
            ["orders.id"],
        ),
        sa.PrimaryKeyConstraint("order_id", "step", "event_type"),
    )
    op.create_table(
        "order_attempts",
        sa.Column("order_id", sa.UUID(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("generation", sa.SmallInteger(), nullable=False, comment="of the delivery"),
        sa.Column("claim", sa.SmallInteger(), nullable=False, comment="number within the generation; 0: no claim"),
        sa.Column("attempt", sa.SmallInteger(), nullable=False, comment="the number that people count"),
        sa.Column("worker", sa.Text(), nullable=False, comment="program@host/pid"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "ended_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="null while it runs, and for good if its worker died",
        ),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("outcome IN ('done', 'retried', 'away', 'dead')", name="outcome_known"),
        sa.CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name="ended_with_outcome"),
        sa.PrimaryKeyConstraint("order_id", "step", "event_type", "generation", "claim"),
    )


def _effects() -> None:
    """The effects of an order: stock, invoices, sales, the audit log."""
    op.create_table(
        "reservations",
        sa.Column("order_id", sa.UUID(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column(
            "reserved_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("quantity > 0", name="quantity_positive"),
        sa.ForeignKeyConstraint(
            ["order_id"],
            ["orders.id"],
        ),
        sa.ForeignKeyConstraint(
            ["sku"],
            ["products.sku"],
        ),
        sa.PrimaryKeyConstraint("order_id", "sku"),
    )
    op.create_table(
        "invoice_series",
        sa.Column("series", sa.Text(), nullable=False, comment="the year of issue"),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("series"),
    )
    op.create_table(
        "invoices",
        sa.Column("series", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False, comment="from 1, without gaps"),
        sa.Column("order_id", sa.UUID(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column(
            "document", sa.Text(), nullable=True, comment="key in the document store; null until the PDF is stored"
        ),
        sa.CheckConstraint("sequence > 0", name="sequence_positive"),
        sa.ForeignKeyConstraint(
            ["order_id"],
            ["orders.id"],
        ),
        sa.ForeignKeyConstraint(
            ["series"],
            ["invoice_series.series"],
        ),
        sa.PrimaryKeyConstraint("series", "sequence"),
        sa.UniqueConstraint("order_id"),
    )
    op.create_table(
        "sales_by_day",
        sa.Column("day", sa.Date(), nullable=False, comment="of placement, UTC"),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("revenue", sa.Numeric(precision=18, scale=2), nullable=False),
        sa.PrimaryKeyConstraint("day", "sku", "country", "currency"),
    )
    op.create_table(
        "audit_log",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("order_id", sa.UUID(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "recorded_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index(op.f("ix_audit_log_order_id"), "audit_log", ["order_id"], unique=False)


def _outbox_events() -> None:
    """Messages to be published, and the schedule of those that are not due."""
    # CACHE 1: ids must be in the order of the row locks under which they are taken.
    op.execute("CREATE SEQUENCE outbox.event_ids CACHE 1")
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('outbox.event_ids')"), nullable=False),
        sa.Column("xid", Xid8(), server_default=sa.text("pg_current_xact_id()"), nullable=False),
        sa.Column(
            "recorded_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dataschema", sa.Text(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("destination", sa.Text(), nullable=True, comment="a queue; null: the event exchange"),
        sa.Column("generation", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("time >= '0001-01-02 00:00+00' AND time < '9999-12-31 00:00+00'", name="time_readable"),
        sa.PrimaryKeyConstraint("id"),
        schema="outbox",
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index("events_subject", "events", ["subject"], unique=False, schema="outbox")
    op.create_index("events_xid_id", "events", ["xid", "id"], unique=False, schema="outbox")
    op.create_table(
        "scheduled",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dataschema", sa.Text(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("destination", sa.Text(), nullable=True, comment="a queue; null: the event exchange"),
        sa.Column("generation", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("time >= '0001-01-02 00:00+00' AND time < '9999-12-31 00:00+00'", name="time_readable"),
        sa.PrimaryKeyConstraint("id"),
        schema="outbox",
    )
    op.create_index("scheduled_due_at_id", "scheduled", ["due_at", "id"], unique=False, schema="outbox")
    op.create_index("scheduled_subject", "scheduled", ["subject"], unique=False, schema="outbox")
    op.create_table(
        "destinations",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column(
            "declared_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("queue"),
        schema="outbox",
    )


def _outbox_cursor() -> None:
    """The relay's cursor, its lease, and the cluster that the transaction ids are from."""
    op.execute("CREATE SEQUENCE outbox.page_ids CACHE 1")
    op.create_table(
        "pages",
        sa.Column("page", sa.BigInteger(), server_default=sa.text("nextval('outbox.page_ids')"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("old_snapshot", PgSnapshot(), nullable=False),
        sa.Column("new_snapshot", PgSnapshot(), nullable=False),
        sa.Column("first_id", sa.BigInteger(), nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "confirmed_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("first_id <= last_id", name="ids_in_order"),
        sa.PrimaryKeyConstraint("page"),
        schema="outbox",
        postgresql_partition_by="RANGE (page)",
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sa.UniqueConstraint("name", "epoch", name="leases_name_epoch"),
        schema="outbox",
    )
    op.create_table(
        "adoptions",
        sa.Column("adoption", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "system_identifier", sa.BigInteger(), nullable=False, comment="of the cluster, by pg_control_system()"
        ),
        sa.Column("floor_id", sa.BigInteger(), nullable=False, comment="events at or below it are never read again"),
        sa.Column("after_page", sa.BigInteger(), nullable=False, comment="pages up to it are another cluster's"),
        sa.Column(
            "adopted_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("adoption"),
        schema="outbox",
    )
    # The cluster in which the tables are made: their transaction ids are its own.
    op.execute(
        "INSERT INTO outbox.adoptions (system_identifier, floor_id, after_page) "
        "SELECT system_identifier, 0, 0 FROM pg_control_system()"
    )


def _outbox_inbox() -> None:
    """One consumer's view of one event."""
    op.create_table(
        "deliveries",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("generation", sa.SmallInteger(), nullable=False, comment="the one that is expected, or was the last"),
        sa.Column(
            "first_generation",
            sa.SmallInteger(),
            server_default=sa.text("1"),
            nullable=False,
            comment="attempts are counted from it: a replay sets it, an outage moves it on",
        ),
        sa.Column("claims", sa.SmallInteger(), nullable=False, comment="of this generation, begun and not finished"),
        sa.Column("lease_token", sa.UUID(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True, comment="when the next generation is due"),
        sa.Column(
            "journal",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="the results of an outside effect",
        ),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("error_trace", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True, comment="why it was dead-lettered"),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column(
            "first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "changed_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("(state = 'running') = (lease_token IS NOT NULL)", name="running_is_leased"),
        sa.CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="leased_until"),
        sa.CheckConstraint("state IN ('running', 'retrying', 'done', 'dead')", name="state_known"),
        sa.CheckConstraint("first_generation BETWEEN 1 AND generation", name="count_from"),
        sa.CheckConstraint("generation >= 1 AND claims >= 0", name="counts_plausible"),
        sa.PrimaryKeyConstraint("consumer", "event_id"),
        schema="outbox",
        postgresql_partition_by="RANGE (event_id)",
    )


def _outbox_dead_letters() -> None:
    """Dead letters, the actions on them, and their alerts."""
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("dead_letter_key", sa.Text(), nullable=False, comment="queue/event id/generation, or a hash"),
        sa.Column("state", sa.Text(), server_default=sa.text("'open'"), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("consumer", sa.Text(), nullable=True),
        sa.Column("event_id", sa.UUID(), nullable=True),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("generation", sa.SmallInteger(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "properties",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="the message's AMQP properties",
        ),
        sa.Column(
            "died_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="by the broker's clock; null if it does not say",
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("error_trace", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("replay_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "reason IN ('rejected', 'retries_exhausted', 'killed_worker', 'delivery_limit', 'undecodable', 'expired', "
            "'unrouted', 'unpublishable')",
            name="reason_known",
        ),
        sa.CheckConstraint("state IN ('open', 'replayed', 'discarded')", name="state_known"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("dead_letter_key"),
        schema="outbox",
    )
    op.create_index("dead_letters_event", "dead_letters", ["event_id", "queue"], unique=False, schema="outbox")
    op.create_index(
        "dead_letters_open",
        "dead_letters",
        ["queue", "first_seen_at"],
        unique=False,
        schema="outbox",
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index("dead_letters_subject", "dead_letters", ["subject"], unique=False, schema="outbox")
    op.create_table(
        "dead_letter_actions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("dead_letter_id", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False, comment="the operator"),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("generation", sa.SmallInteger(), nullable=True, comment="that a replay recorded"),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True, comment="when a replay is sent; null: at once"),
        sa.Column("acted_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint("action IN ('replay', 'discard', 'restore')", name="action_known"),
        sa.ForeignKeyConstraint(
            ["dead_letter_id"],
            ["outbox.dead_letters.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        schema="outbox",
    )
    op.create_index(
        "dead_letter_actions_dead_letter", "dead_letter_actions", ["dead_letter_id"], unique=False, schema="outbox"
    )
    op.create_table(
        "dead_letter_alerts",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("dead_letters", sa.BigInteger(), nullable=False, comment="stored since the last alert"),
        sa.Column("dead_letter_id", sa.BigInteger(), nullable=False, comment="the newest of them"),
        sa.Column("alerted_at", sa.DateTime(timezone=True), nullable=True, comment="null: never"),
        sa.Column("alerting_until", sa.DateTime(timezone=True), nullable=True, comment="a collector is sending it"),
        sa.CheckConstraint("dead_letters >= 0", name="dead_letters_not_negative"),
        sa.PrimaryKeyConstraint("queue", "fingerprint"),
        schema="outbox",
    )
