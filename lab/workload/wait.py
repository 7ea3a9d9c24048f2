"""Waits until every order of a workload is finished: completed, or rejected and the e-mail about it sent.

One aggregate query per poll. The wait ends early when every order that is left has a dead step, and when nothing has
moved for a while; then `stuck` names the orders that are left and the step that each waits for.
"""

import asyncio
import time
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from lab.workload.progress import Meter
from runtime.database import autocommit

POLL_SECONDS = 0.5
NO_PROGRESS_SECONDS = 180.0
_SHOWN = 20

# An order is finished when it is completed, or rejected with the e-mail about it sent.
_UNFINISHED = """
o.status <> 'completed' AND NOT (o.status = 'rejected' AND EXISTS (
  SELECT FROM order_steps t WHERE t.order_id = o.id AND t.step = 'send_confirmation_email'
                              AND t.event_type = 'order.rejected' AND t.state = 'done'))"""

_PROGRESS = text(f"""
SELECT count(*) FILTER (WHERE NOT unfinished) AS finished,
       count(*) FILTER (WHERE unfinished AND dead > 0) AS dead,
       coalesce(sum(done), 0)::int AS steps_done
FROM (SELECT {_UNFINISHED} AS unfinished, s.done, s.dead
      FROM orders o LEFT JOIN (SELECT order_id, count(*) FILTER (WHERE state = 'done') AS done,
                                      count(*) FILTER (WHERE state = 'dead') AS dead
                               FROM order_steps GROUP BY order_id) s ON s.order_id = o.id) AS by_order
""")  # noqa: S608 - _UNFINISHED is a constant

_STUCK = text(f"""
SELECT o.number, o.reference, o.status, s.step, s.event_type, s.state, s.attempt, s.error
FROM orders o LEFT JOIN order_steps s ON s.order_id = o.id AND s.state <> 'done'
WHERE {_UNFINISHED}
ORDER BY o.number, s.step LIMIT {_SHOWN}
""")  # noqa: S608 - constants

_AUDIT_BEHIND = text("""
SELECT count(DISTINCT event_id) FROM outbox.events e
WHERE destination IS NULL AND NOT EXISTS (SELECT FROM audit_log a WHERE a.event_id = e.event_id)
""")


@dataclass(frozen=True, slots=True)
class OrderProgress:
    """How far all orders are; every finished step counts as progress."""

    finished: int
    dead: int
    steps_done: int


@dataclass(frozen=True, slots=True)
class Stuck:
    """An order that is not finished, and the step that it waits for; no step when none has started."""

    number: str
    reference: str
    status: str
    step: str | None
    event_type: str | None
    state: str | None
    attempt: int | None
    error: str | None


async def wait_finished(
    engine: AsyncEngine, total: int, show: Meter, no_progress_seconds: float = NO_PROGRESS_SECONDS
) -> list[Stuck]:
    """Wait until `total` orders are finished, and return nothing; or return the stuck ones, at most twenty."""
    moved, before = time.monotonic(), OrderProgress(0, 0, 0)
    while True:
        progress = await read_progress(engine)
        show(progress.finished, f"({progress.steps_done} steps done)")
        if progress.finished >= total:
            return []
        if progress != before:
            moved, before = time.monotonic(), progress
        if progress.finished + progress.dead >= total or time.monotonic() - moved > no_progress_seconds:
            return await stuck(engine)
        await asyncio.sleep(POLL_SECONDS)


async def wait_audited(engine: AsyncEngine, no_progress_seconds: float = 30.0) -> None:
    """Return when every recorded event is in the audit log, or when no more come."""
    moved, before = time.monotonic(), -1
    while True:
        async with autocommit(engine).connect() as connection:
            behind = (await connection.execute(_AUDIT_BEHIND)).scalar_one()
        if behind != before:
            moved, before = time.monotonic(), behind
        if behind == 0 or time.monotonic() - moved > no_progress_seconds:
            return
        await asyncio.sleep(POLL_SECONDS)


async def read_progress(engine: AsyncEngine) -> OrderProgress:
    """How far all orders are now."""
    async with autocommit(engine).connect() as connection:
        row = (await connection.execute(_PROGRESS)).one()
    return OrderProgress(row.finished, row.dead, row.steps_done)


async def stuck(engine: AsyncEngine) -> list[Stuck]:
    """Orders that are not finished, each with every step that has started and is not done; at most twenty rows."""
    async with autocommit(engine).connect() as connection:
        rows = await connection.execute(_STUCK)
        return [Stuck(*row) for row in rows]
