"""Expected totals: counted in the tables, in SAP's ledger, in the inbox and among the PDFs, where the effects are.

The refusals that clients were answered with are in none of these places; the caller counts them.
"""

import asyncio
from collections.abc import Mapping

import asyncpg

from lab.effects import count_pdfs, read_inbox, read_sap_ledger
from lab.observe.totals import Counts
from lab.stack.local import LocalStack
from orders.model import AttemptEnd
from orders.workflow import BY_QUEUE, PROMISED_SECONDS

# Columns of each: the kind, and how many.
_ORDERS = "SELECT '', count(*) FROM orders"
_BY_STATUS = "SELECT status, count(*) FROM orders GROUP BY status"
_EVENTS = "SELECT '', count(*) FROM outbox.events"
_WERE_SCHEDULED = "SELECT '', count(*) FROM outbox.events WHERE destination IS NOT NULL"
_STORED = "SELECT queue, count(*) FROM outbox.dead_letters GROUP BY queue"
_OPEN = "SELECT queue, count(*) FROM outbox.dead_letters WHERE state = 'open' GROUP BY queue"

# By outcome, of orders that are due: older than the promised seconds ($1) within which an order should be finished.
_DUE = """
SELECT CASE WHEN completed_at - placed_at <= make_interval(secs => $1) THEN 'in_time' ELSE 'late' END, count(*)
FROM orders WHERE placed_at < clock_timestamp() - make_interval(secs => $1) GROUP BY 1"""

# By step: attempts of all orders that ended with this outcome ($1).
_ATTEMPTS = "SELECT step, count(*) FROM order_attempts WHERE outcome = $1 GROUP BY step"

# By queue. The audit log is its own inbox.
_DONE = """
SELECT consumer, count(*) FROM outbox.deliveries WHERE state = 'done' GROUP BY consumer
UNION ALL SELECT 'audit', count(*) FROM audit_log"""
_DEAD = "SELECT consumer, count(*) FROM outbox.deliveries WHERE state = 'dead' GROUP BY consumer"

# Pairs of an event and a queue that listens to it, without a delivery that is done or dead.
# $1 queues and $2 the type that each listens to, in the same order.
_UNSETTLED = """
SELECT count(*) FROM outbox.events AS event
JOIN unnest($1::text[], $2::text[]) AS listener (queue, type) USING (type)
WHERE event.destination IS NULL AND NOT EXISTS (
  SELECT FROM outbox.deliveries AS delivery
  WHERE delivery.consumer = listener.queue AND delivery.event_id = event.event_id AND delivery.state IN ('done', 'dead')
)"""


async def unsettled(connection: asyncpg.Connection) -> int:
    """Deliveries that are not done yet, are running or wait for a retry; the audit queue's are left out."""
    pairs = [(queue, kind) for queue, step in BY_QUEUE.items() if step.tracked for kind in step.listens_to]
    queues, types = zip(*pairs, strict=True)
    return int(await connection.fetchval(_UNSETTLED, list(queues), list(types)))


async def youngest_order_seconds(connection: asyncpg.Connection) -> float:
    """The age of the newest order, by the database's clock."""
    return float(await connection.fetchval("SELECT extract(epoch FROM clock_timestamp() - max(placed_at)) FROM orders"))


async def due(connection: asyncpg.Connection) -> dict[str, float]:
    """The orders that are due, by whether they were finished in time."""
    return await _counted(connection, _DUE, PROMISED_SECONDS)


async def attempts_ended(connection: asyncpg.Connection, end: AttemptEnd) -> dict[str, float]:
    """The attempts that ended with this outcome, by step."""
    return await _counted(connection, _ATTEMPTS, end)


async def expected_totals(connection: asyncpg.Connection, stack: LocalStack, refused: Counts) -> dict[str, Counts]:
    """Every count by the name of its total. `refused` counts POSTs by the reason that the client was answered with."""
    orders = await _counted(connection, _ORDERS)
    events = await _counted(connection, _EVENTS)
    done = _by_step(await _counted(connection, _DONE))
    dead = _by_step(await _counted(connection, _DEAD))
    return {
        "orders accepted": orders,
        "orders answered with 202": orders,
        "orders refused by reason": refused,
        "orders by status": await _counted(connection, _BY_STATUS),
        "orders due, by outcome": await due(connection),
        "events published": events,
        "events confirmed": events,
        "scheduled messages that came due": await _counted(connection, _WERE_SCHEDULED),
        "deliveries done by step": done,
        "effects timed by step": done,
        "deliveries retried by step": await attempts_ended(connection, AttemptEnd.RETRIED),
        "deliveries handed back by step": await attempts_ended(connection, AttemptEnd.AWAY),
        "deliveries dead-lettered by step": dead,
        "steps dead-lettered, by step": dead,
        "dead letters stored by queue": await _counted(connection, _STORED),
        "dead letters open by queue": await _counted(connection, _OPEN),
        "documents in SAP": {"": (await read_sap_ledger(stack.sap_url)).document_count},
        "e-mails in the mailbox": {"": len(await asyncio.to_thread(read_inbox, stack.inbox_dir))},
        "PDFs of invoices": {"": count_pdfs(stack.documents_dir)},
    }


async def _counted(connection: asyncpg.Connection, statement: str, *values: object) -> dict[str, float]:
    return {row[0]: row[1] for row in await connection.fetch(statement, *values)}


def _by_step(by_queue: Mapping[str, float]) -> dict[str, float]:
    return {BY_QUEUE[queue].name: count for queue, count in by_queue.items()}
