"""Every attempt at a step, and an order's messages found by its id.

Indexes are made and dropped while orders come in, each statement on its own: whatever ends the migration, it goes on
from there when it is run again. Only the table and the version are one transaction, which waits for no writer.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import DBAPIError

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# A segment that has no part of the index yet. One that is being detached needs none.
SEGMENT_WITHOUT = sa.text("""
SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = oid AND inhparent = 'outbox.events'::regclass
WHERE NOT inhdetachpending AND NOT EXISTS (
  SELECT FROM pg_index JOIN pg_inherits AS part ON part.inhrelid = indexrelid
  WHERE indrelid = pg_class.oid AND part.inhparent = 'outbox.events_subject'::regclass)
ORDER BY relname LIMIT 1""")

IS_SEGMENT = sa.text("""
SELECT count(*) FROM pg_inherits
WHERE inhrelid = to_regclass(:segment) AND inhparent = 'outbox.events'::regclass AND NOT inhdetachpending""")

IS_VALID = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")


def upgrade() -> None:
    with op.get_context().autocommit_block():
        _index_segments()
        if not _is_valid("events_subject"):
            # Its last attachment would have made it valid, and that segment is gone.
            op.execute("DROP INDEX outbox.events_subject")
            _index_segments()
        _index("scheduled_subject", "scheduled (subject)")
        _index("dead_letters_subject", "dead_letters (subject)")
        _drop("dead_letters_open_subject")
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
    """Index what is there segment by segment. Segments that the relay makes meanwhile have the index from their parent.

    It may also drop one meanwhile, at any moment.
    """
    op.execute("CREATE INDEX IF NOT EXISTS events_subject ON ONLY outbox.events (subject)")
    while (segment := op.get_bind().execute(SEGMENT_WITHOUT).scalar()) is not None:
        try:
            _index(f"{segment}_subject_idx", f"{segment} (subject)")
            op.execute(f"ALTER INDEX outbox.events_subject ATTACH PARTITION outbox.{segment}_subject_idx")
        except DBAPIError:
            if op.get_bind().execute(IS_SEGMENT, {"segment": f"outbox.{segment}"}).scalar():
                raise


def _index(name: str, on: str) -> None:
    """Make an index unless it is there; one whose making was interrupted is of no use and made again."""
    if not _is_valid(name):
        _drop(name)
        _patiently(f"CREATE INDEX CONCURRENTLY {name} ON outbox.{on}")


def _drop(name: str) -> None:
    _patiently(f"DROP INDEX CONCURRENTLY IF EXISTS outbox.{name}")


def _patiently(statement: str) -> None:
    """Execute what waits for every older transaction, and lets writers pass while it does.

    That wait counts as one for a lock: the limit of migrations/env.py would end it, and leave an invalid index.
    """
    op.execute("SET lock_timeout = 0")
    try:
        op.execute(statement)
    finally:
        op.execute("SET lock_timeout = '5s'")


def _is_valid(name: str) -> bool:
    return bool(op.get_bind().execute(IS_VALID, {"name": f"outbox.{name}"}).scalar())


def downgrade() -> None:
    with op.get_context().autocommit_block():
        # Takes the lock of every segment: alone, or it would hold them while it waits for others.
        op.execute("DROP INDEX IF EXISTS outbox.events_subject")
        _index("dead_letters_open_subject", "dead_letters (subject) WHERE state = 'open'")
        _drop("dead_letters_subject")
        _drop("scheduled_subject")
    op.drop_table("order_attempts")
