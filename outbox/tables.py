"""The outbox's tables, in their own Postgres schema `outbox`.

| table               | a row is                                          | written by                | changed        |
|---------------------|---------------------------------------------------|---------------------------|----------------|
| events              | one message to be published; partitioned by id    | record, the schedule      | never          |
| pages               | one confirmed page; the newest is the cursor;     | the relay                 | never          |
|---------------------|---------------------------------------------------|---------------------------|----------------|
| adoptions           | a cluster whose transaction ids events have, and  | the relay, once a cluster | never          |
|---------------------|---------------------------------------------------|---------------------------|----------------|
| leases              | the leader, with its epoch                        | the relay                 | renewed        |
| scheduled           | a message that is not due yet                     | retries, replays          | deleted if due |
| deliveries          | one consumer's view of one event: the inbox;      | consumers                 | yes            |
|---------------------|---------------------------------------------------|---------------------------|----------------|
| dead_letters        | a message that was dead-lettered                  | the collector; the relay  | yes            |
|---------------------|---------------------------------------------------|---------------------------|----------------|
| dead_letter_actions | what an operator did with a dead letter           | replay, discard, restore  | never          |
| dead_letter_alerts  | the alert of a group of dead letters of one cause | the collector             | yes            |
| destinations        | a queue that must exist before publishing         | `topology apply`          | replaced       |

Column types are named here and not left to SQLAlchemy's guess: the relay and `record` use asyncpg and SQL text on the
same tables. The columns of a message are listed in `outbox.message_columns`.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.types import UserDefinedType

from outbox.dead_letter_reason import DEAD_LETTER_STATES, DeadLetterReason

SCHEMA = "outbox"
metadata = sa.MetaData(schema=SCHEMA)

DELIVERY_STATES = ("running", "retrying", "done", "dead")
DEAD_LETTER_ACTIONS = ("replay", "discard", "restore")


class Xid8(UserDefinedType[int]):
    """Postgres's 64-bit transaction id."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """The type's name in DDL."""
        return "xid8"


class PgSnapshot(UserDefinedType[str]):
    """Postgres's pg_snapshot, as text `xmin:xmax:xip,...`."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """The type's name in DDL."""
        return "pg_snapshot"


def _one_of(column: str, values: tuple[str, ...]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def _readable_time() -> sa.CheckConstraint:
    """A time that Python can read: Postgres also knows infinity, years before 1 and years after 9999."""
    return sa.CheckConstraint("time >= '0001-01-02 00:00+00' AND time < '9999-12-31 00:00+00'", name="time_readable")


def _message_columns() -> list[sa.Column[object]]:
    """The columns of a message, the same in events and scheduled."""
    return [
        sa.Column("event_id", pg.UUID(as_uuid=True), nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dataschema", sa.Text),
        sa.Column("traceparent", sa.Text),
        sa.Column("destination", sa.Text, comment="a queue; null: the event exchange"),
        sa.Column("generation", sa.SmallInteger, nullable=False, server_default=sa.text("1")),
        sa.Column("data", sa.LargeBinary, nullable=False),
    ]


events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, server_default=sa.text("nextval('outbox.event_ids')")),
    sa.Column("xid", Xid8, nullable=False, server_default=sa.text("pg_current_xact_id()")),
    sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")),
    *_message_columns(),
    _readable_time(),
    sa.Index("events_xid_id", "xid", "id"),
    # For the timeline of one order: docs/decisions/0021.
    sa.Index("events_subject", "subject"),
    postgresql_partition_by="RANGE (id)",
)

pages = sa.Table(
    "pages",
    metadata,
    sa.Column("page", sa.BigInteger, primary_key=True, server_default=sa.text("nextval('outbox.page_ids')")),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("old_snapshot", PgSnapshot, nullable=False),
    sa.Column("new_snapshot", PgSnapshot, nullable=False),
    sa.Column("first_id", sa.BigInteger, nullable=False),
    sa.Column("last_id", sa.BigInteger, nullable=False),
    sa.Column("events", sa.Integer, nullable=False),
    sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")),
    sa.CheckConstraint("first_id <= last_id", name="ids_in_order"),
    postgresql_partition_by="RANGE (page)",
)

adoptions = sa.Table(
    "adoptions",
    metadata,
    sa.Column("adoption", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("system_identifier", sa.BigInteger, nullable=False, comment="of the cluster, by pg_control_system()"),
    sa.Column("floor_id", sa.BigInteger, nullable=False, comment="events at or below it are never read again"),
    sa.Column("after_page", sa.BigInteger, nullable=False, comment="pages up to it are another cluster's"),
    sa.Column("adopted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    # Not for its uniqueness: it makes the epoch a key column. Each write of a term takes FOR KEY SHARE on this row
    # until its commit is on disk, which delays an acquisition and lets renewals pass.
    sa.UniqueConstraint("name", "epoch", name="leases_name_epoch"),
)

scheduled = sa.Table(
    "scheduled",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
    *_message_columns(),
    _readable_time(),
    sa.Index("scheduled_due_at_id", "due_at", "id"),
    sa.Index("scheduled_subject", "subject"),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("consumer", sa.Text, primary_key=True),
    sa.Column("event_id", pg.UUID(as_uuid=True), primary_key=True),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("generation", sa.SmallInteger, nullable=False, comment="the one that is expected, or was the last"),
    sa.Column(
        "first_generation",
        sa.SmallInteger,
        nullable=False,
        server_default=sa.text("1"),
        comment="attempts are counted from it: a replay sets it, an outage moves it on",
    ),
    sa.Column("claims", sa.SmallInteger, nullable=False, comment="of this generation, begun and not finished"),
    sa.Column("lease_token", pg.UUID(as_uuid=True)),
    sa.Column("lease_until", sa.DateTime(timezone=True)),
    sa.Column("due_at", sa.DateTime(timezone=True), comment="when the next generation is due"),
    sa.Column("journal", pg.JSONB, comment="the results of an outside effect"),
    sa.Column("error_class", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("error_trace", sa.Text),
    sa.Column("reason", sa.Text, comment="why it was dead-lettered"),
    sa.Column("fingerprint", sa.Text),
    sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")),
    sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")),
    _one_of("state", DELIVERY_STATES),
    sa.CheckConstraint("(state = 'running') = (lease_token IS NOT NULL)", name="running_is_leased"),
    sa.CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="leased_until"),
    sa.CheckConstraint("generation >= 1 AND claims >= 0", name="counts_plausible"),
    sa.CheckConstraint("first_generation BETWEEN 1 AND generation", name="count_from"),
    postgresql_partition_by="RANGE (event_id)",
)

dead_letters = sa.Table(
    "dead_letters",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("dead_letter_key", sa.Text, nullable=False, unique=True, comment="queue/event id/generation, or a hash"),
    sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'open'")),
    sa.Column("queue", sa.Text, nullable=False),
    sa.Column("consumer", sa.Text),
    sa.Column("event_id", pg.UUID(as_uuid=True)),
    sa.Column("type", sa.Text),
    sa.Column("subject", sa.Text),
    sa.Column("generation", sa.SmallInteger),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("headers", pg.JSONB, nullable=False),
    sa.Column(
        "properties",
        pg.JSONB,
        nullable=False,
        server_default=sa.text("'{}'"),
        comment="the message's AMQP properties",
    ),
    sa.Column("died_at", sa.DateTime(timezone=True), comment="by the broker's clock; null if it does not say"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("error_class", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("error_trace", sa.Text),
    sa.Column("fingerprint", sa.Text),
    sa.Column("replay_count", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")),
    sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")),
    _one_of("state", DEAD_LETTER_STATES),
    _one_of("reason", tuple(DeadLetterReason)),
    sa.Index("dead_letters_open", "queue", "first_seen_at", postgresql_where=sa.text("state = 'open'")),
    sa.Index("dead_letters_subject", "subject"),
    sa.Index("dead_letters_event", "event_id", "queue"),
)

dead_letter_actions = sa.Table(
    "dead_letter_actions",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("dead_letter_id", sa.BigInteger, sa.ForeignKey(dead_letters.c.id), nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False, comment="the operator"),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("generation", sa.SmallInteger, comment="that a replay recorded"),
    sa.Column("due_at", sa.DateTime(timezone=True), comment="when a replay is sent; null: at once"),
    sa.Column("acted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")),
    _one_of("action", DEAD_LETTER_ACTIONS),
    sa.Index("dead_letter_actions_dead_letter", "dead_letter_id"),
)

dead_letter_alerts = sa.Table(
    "dead_letter_alerts",
    metadata,
    sa.Column("queue", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, primary_key=True),
    sa.Column("dead_letters", sa.BigInteger, nullable=False, comment="stored since the last alert"),
    sa.Column("dead_letter_id", sa.BigInteger, nullable=False, comment="the newest of them"),
    sa.Column("alerted_at", sa.DateTime(timezone=True), comment="null: never"),
    sa.Column("alerting_until", sa.DateTime(timezone=True), comment="a collector is sending it"),
    sa.CheckConstraint("dead_letters >= 0", name="dead_letters_not_negative"),
)

destinations = sa.Table(
    "destinations",
    metadata,
    sa.Column("queue", sa.Text, primary_key=True),
    sa.Column("declared_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")),
)
