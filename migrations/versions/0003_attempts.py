"""Every attempt at a step, and an order's messages found by its id."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Those that have no part of the index yet, or one whose making was interrupted.
SEGMENTS_WITHOUT = sa.text("""
SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = oid AND inhparent = 'outbox.events'::regclass
WHERE NOT EXISTS (
  SELECT FROM pg_index JOIN pg_inherits AS part ON part.inhrelid = indexrelid
  WHERE indrelid = pg_class.oid AND part.inhparent = 'outbox.events_subject'::regclass)
ORDER BY relname""")


def upgrade() -> None:
    _index_segments()
    op.create_index("scheduled_subject", "scheduled", ["subject"], unique=False, schema="outbox")
    op.create_index("dead_letters_subject", "dead_letters", ["subject"], unique=False, schema="outbox")
    op.drop_index(
        "dead_letters_open_subject", "dead_letters", schema="outbox", postgresql_where=sa.text("state = 'open'")
    )
    op.create_table(
        "order_attempts",
        sa.Column("order_id", sa.UUID(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False, comment="the delivery's generation"),
        sa.Column("begun", sa.SmallInteger(), nullable=False, comment="which claim of it; 0: it was not claimed"),
        sa.Column("tries", sa.SmallInteger(), nullable=False, comment="the number that people are shown"),
        sa.Column("worker", sa.Text(), nullable=False, comment="program@host/pid"),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
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
        sa.PrimaryKeyConstraint("order_id", "step", "event_type", "attempt", "begun"),
    )


def _index_segments() -> None:
    """Index what is there while orders come in: segment by segment, concurrently, and again from where it failed.

    Segments that the relay makes meanwhile have the index from their parent.
    """
    with op.get_context().autocommit_block():
        op.execute("CREATE INDEX IF NOT EXISTS events_subject ON ONLY outbox.events (subject)")
        for (segment,) in op.get_bind().execute(SEGMENTS_WITHOUT).all():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS outbox.{segment}_subject_idx")
            op.execute(f"CREATE INDEX CONCURRENTLY {segment}_subject_idx ON outbox.{segment} (subject)")
            op.execute(f"ALTER INDEX outbox.events_subject ATTACH PARTITION outbox.{segment}_subject_idx")


def downgrade() -> None:
    op.drop_table("order_attempts")
    op.create_index(
        "dead_letters_open_subject",
        "dead_letters",
        ["subject"],
        unique=False,
        schema="outbox",
        postgresql_where=sa.text("state = 'open'"),
    )
    op.drop_index("dead_letters_subject", "dead_letters", schema="outbox")
    op.drop_index("scheduled_subject", "scheduled", schema="outbox")
    op.drop_index("events_subject", "events", schema="outbox")
