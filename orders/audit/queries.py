"""The audit's queries on the orders of a window: a few statements on sets, however many orders there are.

All statements belong in one transaction that sees one moment (REPEATABLE READ), or a step that ends between two of
them reads as one that did not have its effect. Judged by `orders.audit.rules`; sums are in
`orders.audit.reconciliation`.

Inbox rows are found by the time in the event id, which their table is ordered by: an order's events come after it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.audit.rules import STEP_OF, Effect, OrderRecord, Stock, steps_owed
from orders.model import Status, StepProgress, StepState, invoice_number
from orders.tracking.progress import OrderDeadLetter, OrderProgress
from orders.workflow import BY_NAME, leaf_steps
from outbox import subject_queries
from outbox.cursor.id_ranges import NotPassed, not_passed
from outbox.envelope import lowest_id

# An event's id is made by its writer's clock, an order's time is Postgres's.
CLOCK_SKEW = timedelta(hours=1)
GAUGED_AT_MOST = 10_000

_ORDERS = text("""
SELECT o.id, o.number, o.status, o.placed_at, o.sap_document, o.open_joins, o.leaf_steps,
       i.series, i.sequence, i.document
FROM orders o LEFT JOIN invoices i ON i.order_id = o.id
WHERE o.placed_at >= :since AND o.placed_at < :until ORDER BY o.placed_at, o.id
""")

# Reserved units per order and SKU that differ from its lines.
_STOCK = text("""
WITH asked AS (SELECT id FROM orders WHERE placed_at >= :since AND placed_at < :until),
due AS (SELECT order_id, sku, sum(quantity)::int AS units FROM order_lines JOIN asked ON id = order_id GROUP BY 1, 2),
held AS (SELECT order_id, sku, quantity AS units FROM reservations JOIN asked ON id = order_id)
SELECT order_id, sku, coalesce(due.units, 0) AS due, coalesce(held.units, 0) AS reserved
FROM due FULL JOIN held USING (order_id, sku)
WHERE due.units IS DISTINCT FROM held.units
""")

# A completed order has every step behind it, but leaf steps, for which no other step waits.
_STEPS = text("""
SELECT s.order_id, s.step, s.event_type, s.state, s.attempt, s.error, s.next_attempt_at, s.finished_at
FROM order_steps s JOIN orders o ON o.id = s.order_id
WHERE o.placed_at >= :since AND o.placed_at < :until
  AND (o.status <> 'completed' OR s.step = ANY(o.leaf_steps))
""")

_THERE_ARE = text("SELECT id FROM orders WHERE id = ANY(CAST(:ids AS uuid[]))")

# The audit log keeps an event for good, the inbox forgets it.
_ORDERS_OF_EVENTS = text("SELECT event_id, order_id FROM audit_log WHERE event_id = ANY(CAST(:ids AS uuid[]))")

# Reads the unfinished orders only, by the index that holds no others.
_OVERDUE = text("""
WITH late AS MATERIALIZED (
  SELECT id, placed_at, leaf_steps FROM orders
  WHERE status NOT IN ('completed', 'rejected')
    AND placed_at < clock_timestamp() - make_interval(secs => CAST(:shortest AS float8))
  ORDER BY placed_at LIMIT :limit)
SELECT e.effect, count(late.id) AS orders
FROM unnest(CAST(:effects AS text[]), CAST(:steps AS text[]), CAST(:deadlines AS float8[]))
  AS e (effect, step, deadline)
LEFT JOIN late ON late.placed_at < clock_timestamp() - make_interval(secs => e.deadline)
  AND (e.step = ANY(late.leaf_steps) OR e.step <> ALL(CAST(:leaves AS text[])))
  AND NOT EXISTS (
    SELECT FROM order_steps s WHERE s.order_id = late.id AND s.step = e.step AND s.state = 'done')
GROUP BY e.effect
""")


@dataclass(frozen=True, slots=True)
class Window:
    """Orders placed from `since` on and before `until`."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class OrderRecords:
    """The orders of a window as our tables have them, and the order of each e-mail's event."""

    orders: list[OrderRecord]
    order_of_mail: dict[UUID, UUID]


async def read_orders(tx: AsyncConnection, window: Window) -> OrderRecords:
    """Every order of the window with all that our own tables have of it."""
    values = {"since": window.since, "until": window.until}
    rows = (await tx.execute(_ORDERS, values)).all()
    inbox = await _inbox(tx, window, [row.id for row in rows])
    stock: defaultdict[UUID, list[Stock]] = defaultdict(list)
    for row in await tx.execute(_STOCK, values):
        stock[row.order_id].append(Stock(row.sku, row.due, row.reserved))
    open_rows = [row for row in rows if row.status != Status.COMPLETED or row.leaf_steps]
    progresses = await _progress_of(tx, window, open_rows) if open_rows else {}
    return OrderRecords(
        [_known(row, inbox, stock.get(row.id, ()), progresses.get(row.id)) for row in rows], inbox.order_of_mail
    )


async def existing(tx: AsyncConnection, order_ids: Iterable[UUID]) -> set[UUID]:
    """The ids among `order_ids` that are orders, placed at any time."""
    return set((await tx.execute(_THERE_ARE, {"ids": list(order_ids)})).scalars())


async def orders_of_mails(tx: AsyncConnection, event_ids: Iterable[UUID]) -> dict[UUID, UUID]:
    """The order that each of these events names, as far as a table of ours still has the event."""
    ids = list(event_ids)
    subjects = await subject_queries.subjects_of(tx, STEP_OF[Effect.EMAIL].queue, ids)
    named = {event_id: order_id for event_id, subject in subjects.items() if (order_id := _uuid(subject)) is not None}
    kept = {row.event_id: row.order_id for row in await tx.execute(_ORDERS_OF_EVENTS, {"ids": ids})}
    return {**named, **kept}


def _uuid(subject: str) -> UUID | None:
    try:
        return UUID(subject)
    except ValueError:
        return None


async def overdue(tx: AsyncConnection, limit: int = GAUGED_AT_MOST) -> dict[str, int]:
    """Unfinished orders per effect whose step is not done within its deadline, of the oldest `limit` orders.

    Read from the steps' rows, at a price that does not grow with the finished orders. A rejected order counts as
    finished: the audit and the dead letters find a missing e-mail about its rejection.
    """
    owed = steps_owed()
    deadlines = [step.deadline_seconds for step in owed.values()]
    values = {
        "shortest": min(deadlines),
        "limit": limit,
        "effects": list(owed),
        "steps": [step.name for step in owed.values()],
        "deadlines": deadlines,
        "leaves": list(leaf_steps()),
    }
    return {row.effect: row.orders for row in await tx.execute(_OVERDUE, values)}


@dataclass(frozen=True, slots=True)
class _Inbox:
    mails: defaultdict[UUID, list[UUID]]
    counted: defaultdict[UUID, int]
    order_of_mail: dict[UUID, UUID]


async def _inbox(tx: AsyncConnection, window: Window, order_ids: Sequence[UUID]) -> _Inbox:
    """E-mails that were begun, and sales figures that were counted. An e-mail with a journal was sent."""
    email, analytics = STEP_OF[Effect.EMAIL].queue, STEP_OF[Effect.ANALYTICS].queue
    subjects = {str(order_id): order_id for order_id in order_ids}
    lowest = lowest_id(window.since - CLOCK_SKEW)
    inbox = _Inbox(defaultdict(list), defaultdict(int), {})
    for row in await subject_queries.deliveries(tx, (email, analytics), subjects, lowest):
        order_id, done = subjects[row.subject], row.state == StepState.DONE
        if row.consumer == email:
            inbox.order_of_mail[row.event_id] = order_id
            if done or row.acted:
                inbox.mails[order_id].append(row.event_id)
        elif done:
            inbox.counted[order_id] += 1
    return inbox


async def _progress_of(tx: AsyncConnection, window: Window, rows: Sequence[Row[Any]]) -> dict[UUID, OrderProgress]:
    """The progress of each of these orders."""
    subjects = {str(row.id): row for row in rows}
    steps: defaultdict[UUID, dict[tuple[str, str], StepProgress]] = defaultdict(dict)
    for row in await tx.execute(_STEPS, {"since": window.since, "until": window.until}):
        steps[row.order_id][BY_NAME[row.step].queue, row.event_type] = _progress(row)
    dead_letters: defaultdict[str, list[OrderDeadLetter]] = defaultdict(list)
    for one in await subject_queries.dead_letters(tx, subjects):
        dead_letters[one.subject].append(
            OrderDeadLetter(one.id, one.state, one.queue, one.type, one.reason, one.error, one.generation)
        )
    due: defaultdict[str, dict[tuple[str, str | None], datetime]] = defaultdict(dict)
    for message in await subject_queries.due(tx, subjects):
        due[message.subject][message.type, message.destination] = message.due_at
    waiting = _by_subject(await not_passed(tx, window.since))
    return {
        row.id: OrderProgress(
            steps.get(row.id, {}),
            dead_letters.get(subject, ()),
            due.get(subject, {}),
            waiting.get(subject, frozenset()),
            frozenset(row.open_joins),
            frozenset(row.leaf_steps),
        )
        for subject, row in subjects.items()
    }


def _by_subject(events: Iterable[NotPassed]) -> dict[str, set[tuple[str, str | None]]]:
    by_subject: defaultdict[str, set[tuple[str, str | None]]] = defaultdict(set)
    for event in events:
        by_subject[event.subject].add((event.type, event.destination))
    return by_subject


def _progress(row: Row[Any]) -> StepProgress:
    return StepProgress(row.step, StepState(row.state), row.attempt, row.error, row.next_attempt_at, row.finished_at)


def _known(row: Row[Any], inbox: _Inbox, stock: Sequence[Stock], progress: OrderProgress | None) -> OrderRecord:
    return OrderRecord(
        id=row.id,
        number=row.number,
        status=Status(row.status),
        placed_at=row.placed_at,
        sap_document=row.sap_document,
        invoice=None if row.sequence is None else invoice_number(row.series, row.sequence),
        document=row.document,
        stock=stock,
        mails=inbox.mails.get(row.id, ()),
        counted=inbox.counted.get(row.id, 0),
        progress=progress or OrderProgress(),
    )
