"""Dead letters as an operator works with them, and what the inbox must know for it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REASONS = (
    "reason IN ('rejected', 'retries_exhausted', 'killed_worker', 'delivery_limit', 'undecodable', 'expired', "
    "'unrouted', 'unpublishable')"
)


def upgrade() -> None:
    op.add_column(
        "deliveries",
        sa.Column(
            "first_attempt",
            sa.SmallInteger(),
            server_default=sa.text("1"),
            nullable=False,
            comment="the try at which the count of tries begins: a replay sets it, an outage moves it along",
        ),
        schema="outbox",
    )
    op.add_column("deliveries", sa.Column("reason", sa.Text(), comment="why it was given up"), schema="outbox")
    op.add_column("deliveries", sa.Column("fingerprint", sa.Text()), schema="outbox")
    op.create_check_constraint("count_from", "deliveries", "first_attempt BETWEEN 1 AND attempt", schema="outbox")

    op.add_column(
        "dead_letters",
        sa.Column(
            "properties",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="the message's AMQP properties",
        ),
        schema="outbox",
    )
    op.add_column(
        "dead_letters",
        sa.Column("died_at", sa.DateTime(timezone=True), comment="by the broker's word; null where it has none"),
        schema="outbox",
    )
    op.create_check_constraint("reason_known", "dead_letters", REASONS, schema="outbox")
    op.create_index(
        "dead_letters_open_subject",
        "dead_letters",
        ["subject"],
        unique=False,
        schema="outbox",
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index("dead_letters_event", "dead_letters", ["event_id", "queue"], unique=False, schema="outbox")

    op.create_table(
        "letter_actions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("letter_id", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False, comment="who"),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=True, comment="the try that a replay recorded"),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True, comment="when a replay is sent; null: at once"),
        sa.Column("acted_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint("action IN ('replay', 'discard', 'restore')", name="action_known"),
        sa.ForeignKeyConstraint(["letter_id"], ["outbox.dead_letters.id"]),
        sa.PrimaryKeyConstraint("id"),
        schema="outbox",
    )
    op.create_index("letter_actions_letter", "letter_actions", ["letter_id"], unique=False, schema="outbox")

    op.create_table(
        "letter_alerts",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("letters", sa.BigInteger(), nullable=False, comment="stored since the last alert"),
        sa.Column("letter_id", sa.BigInteger(), nullable=False, comment="the newest of them"),
        sa.Column("alerted_at", sa.DateTime(timezone=True), nullable=True, comment="null: never"),
        sa.Column("alerting_until", sa.DateTime(timezone=True), nullable=True, comment="somebody is sending it"),
        sa.CheckConstraint("letters >= 0", name="letters_not_negative"),
        sa.PrimaryKeyConstraint("queue", "fingerprint"),
        schema="outbox",
    )

    # What is not finished is few; all orders are many.
    op.create_index(
        "orders_unfinished",
        "orders",
        ["placed_at"],
        unique=False,
        postgresql_where=sa.text("status NOT IN ('completed', 'rejected')"),
    )


def downgrade() -> None:
    op.drop_index("orders_unfinished", "orders", postgresql_where=sa.text("status NOT IN ('completed', 'rejected')"))
    op.drop_table("letter_alerts", schema="outbox")
    op.drop_index("letter_actions_letter", "letter_actions", schema="outbox")
    op.drop_table("letter_actions", schema="outbox")
    op.drop_index("dead_letters_event", "dead_letters", schema="outbox")
    op.drop_index(
        "dead_letters_open_subject", "dead_letters", schema="outbox", postgresql_where=sa.text("state = 'open'")
    )
    op.drop_constraint("reason_known", "dead_letters", schema="outbox")
    op.drop_column("dead_letters", "died_at", schema="outbox")
    op.drop_column("dead_letters", "properties", schema="outbox")
    op.drop_constraint("count_from", "deliveries", schema="outbox")
    op.drop_column("deliveries", "fingerprint", schema="outbox")
    op.drop_column("deliveries", "reason", schema="outbox")
    op.drop_column("deliveries", "first_attempt", schema="outbox")
