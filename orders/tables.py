"""The business tables, in Postgres's default schema. States are CHECKed with the words of orders.model."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from orders.model import AttemptEnd, Status, StepState

metadata = sa.MetaData()

MONEY = sa.Numeric(18, 4)
TOTAL = sa.Numeric(18, 2)
# What people and SAP know an order by: WB-00000001; at least 8 digits, far below SAP's 35 characters.
NEXT_NUMBER = "'WB-' || to_char(nextval('order_numbers'), 'FM999999999900000000')"


def _listed(values: type[Status] | type[StepState] | type[AttemptEnd]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def _now() -> sa.TextClause:
    return sa.text("clock_timestamp()")


orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", pg.UUID(as_uuid=True), primary_key=True),
    sa.Column("number", sa.Text, nullable=False, unique=True, server_default=sa.text(NEXT_NUMBER)),
    sa.Column("reference", sa.Text, nullable=False, unique=True),
    sa.Column("status", sa.Text, nullable=False, server_default=sa.text("'pending'")),
    sa.Column("customer_name", sa.Text, nullable=False),
    sa.Column("customer_email", sa.Text, nullable=False),
    sa.Column("street", sa.Text, nullable=False),
    sa.Column("city", sa.Text, nullable=False),
    sa.Column("region", sa.Text),
    sa.Column("postal_code", sa.Text),
    sa.Column("country", sa.Text, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("net_total", TOTAL, nullable=False),
    sa.Column("open_joins", pg.ARRAY(sa.Text), nullable=False, comment="joined steps that are not done"),
    sa.Column("leaf_steps", pg.ARRAY(sa.Text), nullable=False, comment="leaf steps of the table it was placed with"),
    sa.Column("reject_reasons", pg.JSONB),
    sa.Column("sap_document", sa.Text),
    sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False, server_default=_now()),
    sa.Column("completed_at", sa.DateTime(timezone=True)),
    sa.CheckConstraint("length(number) <= 35", name="number_fits_sap"),
    sa.CheckConstraint(f"status IN ({_listed(Status)})", name="status_known"),
    sa.CheckConstraint("(status = 'rejected') = (reject_reasons IS NOT NULL)", name="rejected_with_reasons"),
    sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_form"),
    sa.CheckConstraint("length(reference) BETWEEN 1 AND 100", name="reference_length"),
    sa.Index("orders_newest", sa.text("placed_at DESC"), sa.text("id DESC")),
    sa.Index("orders_unfinished", "placed_at", postgresql_where=sa.text("status NOT IN ('completed', 'rejected')")),
)

order_lines = sa.Table(
    "order_lines",
    metadata,
    sa.Column("order_id", pg.UUID(as_uuid=True), sa.ForeignKey("orders.id"), primary_key=True),
    sa.Column("position", sa.SmallInteger, primary_key=True, comment="from 1"),
    sa.Column("sku", sa.Text, nullable=False),
    sa.Column("quantity", sa.Integer, nullable=False),
    sa.Column("unit_price", MONEY, nullable=False),
    sa.Column("discount", sa.Numeric(9, 8), nullable=False),
    sa.Column("net", TOTAL, nullable=False),
    sa.CheckConstraint("quantity > 0", name="quantity_positive"),
    sa.CheckConstraint("unit_price >= 0", name="unit_price_not_negative"),
    sa.CheckConstraint("discount >= 0 AND discount < 1", name="discount_a_fraction"),
)

order_steps = sa.Table(
    "order_steps",
    metadata,
    sa.Column("order_id", pg.UUID(as_uuid=True), sa.ForeignKey("orders.id"), primary_key=True),
    sa.Column("step", sa.Text, primary_key=True, comment="the task's name"),
    sa.Column("event_type", sa.Text, primary_key=True, comment="what the step reacted to"),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempt", sa.SmallInteger, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("next_attempt_at", sa.DateTime(timezone=True)),
    sa.Column("finished_at", sa.DateTime(timezone=True)),
    sa.CheckConstraint(f"state IN ({_listed(StepState)})", name="state_known"),
)

# The history of the steps: a row for each attempt, for good. No foreign key: a row is selected from its order, which is
# never deleted, and the check would cost every attempt a read and a lock.
order_attempts = sa.Table(
    "order_attempts",
    metadata,
    sa.Column("order_id", pg.UUID(as_uuid=True), primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column("event_type", sa.Text, primary_key=True),
    sa.Column("generation", sa.SmallInteger, primary_key=True, comment="of the delivery"),
    sa.Column("claim", sa.SmallInteger, primary_key=True, comment="number within the generation; 0: no claim"),
    sa.Column("attempt", sa.SmallInteger, nullable=False, comment="the number that people count"),
    sa.Column("worker", sa.Text, nullable=False, comment="program@host/pid"),
    sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("ended_at", sa.DateTime(timezone=True), comment="null while it runs, and for good if its worker died"),
    sa.Column("outcome", sa.Text),
    sa.Column("error", sa.Text),
    sa.CheckConstraint(f"outcome IN ({_listed(AttemptEnd)})", name="outcome_known"),
    sa.CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name="ended_with_outcome"),
)

products = sa.Table(
    "products",
    metadata,
    sa.Column("sku", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("sellable", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("available", sa.Integer, nullable=False, comment="units that can still be sold"),
    sa.CheckConstraint("available >= 0", name="never_below_zero"),
)

product_prices = sa.Table(
    "product_prices",
    metadata,
    sa.Column("sku", sa.Text, sa.ForeignKey("products.sku"), primary_key=True),
    sa.Column("currency", sa.Text, primary_key=True),
    sa.Column("unit_price", MONEY, primary_key=True),
)

reservations = sa.Table(
    "reservations",
    metadata,
    sa.Column("order_id", pg.UUID(as_uuid=True), sa.ForeignKey("orders.id"), primary_key=True),
    sa.Column("sku", sa.Text, sa.ForeignKey("products.sku"), primary_key=True),
    sa.Column("quantity", sa.Integer, nullable=False),
    sa.Column("reserved_at", sa.DateTime(timezone=True), nullable=False, server_default=_now()),
    sa.CheckConstraint("quantity > 0", name="quantity_positive"),
)

invoice_series = sa.Table(
    "invoice_series",
    metadata,
    sa.Column("series", sa.Text, primary_key=True, comment="the year of issue"),
    sa.Column("last_sequence", sa.BigInteger, nullable=False),
)

invoices = sa.Table(
    "invoices",
    metadata,
    sa.Column("series", sa.Text, sa.ForeignKey("invoice_series.series"), primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True, comment="from 1, without gaps"),
    sa.Column("order_id", pg.UUID(as_uuid=True), sa.ForeignKey("orders.id"), nullable=False, unique=True),
    sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False, server_default=_now()),
    sa.Column("document", sa.Text, comment="key in the document store; null until the PDF is stored"),
    sa.CheckConstraint("sequence > 0", name="sequence_positive"),
)

sales_by_day = sa.Table(
    "sales_by_day",
    metadata,
    sa.Column("day", sa.Date, primary_key=True, comment="of placement, UTC"),
    sa.Column("sku", sa.Text, primary_key=True),
    sa.Column("country", sa.Text, primary_key=True),
    sa.Column("currency", sa.Text, primary_key=True),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("revenue", TOTAL, nullable=False),
)

audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("event_id", pg.UUID(as_uuid=True), primary_key=True),
    sa.Column("order_id", pg.UUID(as_uuid=True), nullable=False, index=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False, server_default=_now()),
    sa.Column("data", pg.JSONB, nullable=False),
)
