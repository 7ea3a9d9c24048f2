"""Queries on the steps of an order: the state of each, and every attempt at it.

A step that has not started has no row. This is the only module that writes these tables, and the only one that reads
attempts; `orders.audit` reads states for its own sums. Every function takes an open connection; none commits.
"""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.model import Attempt, AttemptEnd, AttemptRecord, StepProgress, StepState

_STARTED = text("""
SELECT step, event_type, state, attempt, error, next_attempt_at, finished_at FROM order_steps WHERE order_id = :id
""")

# The step's state and its attempt, in one statement: a delivery costs no more for its history.
# An event may name an order that does not exist: then nothing is written.
_SET_STEP = text("""
WITH known AS (SELECT id FROM orders WHERE id = :order_id),
attempted AS (
  INSERT INTO order_attempts (order_id, step, event_type, generation, claim, attempt, worker, started_at, ended_at,
                              outcome, error)
  SELECT id, :step, :event_type, :generation, :claim, :attempt, :worker,
         clock_timestamp() - make_interval(secs => :seconds),
         CASE WHEN CAST(:outcome AS text) IS NOT NULL THEN clock_timestamp() END, :outcome, :error
  FROM known
  ON CONFLICT (order_id, step, event_type, generation, claim) DO UPDATE
  SET attempt = excluded.attempt, ended_at = excluded.ended_at, outcome = excluded.outcome, error = excluded.error)
INSERT INTO order_steps (order_id, step, event_type, state, attempt, error, next_attempt_at, finished_at)
SELECT id, :step, :event_type, :state, :attempt, :error, CAST(:next_attempt_at AS timestamptz),
       CASE WHEN :state = 'done' THEN clock_timestamp() END
FROM known
ON CONFLICT (order_id, step, event_type) DO UPDATE
SET state = excluded.state, attempt = excluded.attempt, error = excluded.error,
    next_attempt_at = excluded.next_attempt_at, finished_at = excluded.finished_at
""")

_ATTEMPTS = text("""
SELECT step, event_type, generation, claim, attempt, worker, started_at, ended_at, outcome AS "end", error
FROM order_attempts WHERE order_id = :id ORDER BY started_at, generation, claim
""")


async def started(tx: AsyncConnection, order_id: UUID) -> list[tuple[str, StepProgress]]:
    """The steps of an order that have started, each with the type of the event it reacts to."""
    rows = (await tx.execute(_STARTED, {"id": order_id})).mappings()
    return [
        (
            row["event_type"],
            StepProgress(
                row["step"],
                StepState(row["state"]),
                row["attempt"],
                row["error"],
                row["next_attempt_at"],
                row["finished_at"],
            ),
        )
        for row in rows
    ]


async def attempts(tx: AsyncConnection, order_id: UUID) -> list[Attempt]:
    """Every attempt at a step of an order, oldest first."""
    rows = (await tx.execute(_ATTEMPTS, {"id": order_id})).mappings()
    return [Attempt(**{**row, "end": AttemptEnd(row["end"]) if row["end"] else None}) for row in rows]


async def set_step(
    tx: AsyncConnection, order_id: UUID, event_type: str, progress: StepProgress, record: AttemptRecord
) -> None:
    """Write a step's state, and the attempt that led to it."""
    values = {
        "order_id": order_id,
        "step": progress.step,
        "event_type": event_type,
        "state": progress.state.value,
        "attempt": progress.attempt,
        "error": progress.error,
        "next_attempt_at": progress.next_attempt_at,
        "generation": record.generation,
        "claim": record.claim,
        "worker": record.worker,
        "seconds": record.seconds,
        "outcome": record.end,
    }
    await tx.execute(_SET_STEP, values)
