"""Transactions that wait for a database that takes no work: a worker keeps its delivery in hand, and no try is spent.

One without the schema is such a database. A worker that was started before the migration would give up every delivery
that it is handed; the price is that a step which asks for a column that never was waits as well, and says so.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from outbox.record import NoSegmentError
from runtime.database import autocommit, is_unavailable, lacks_schema, may_pass
from runtime.logging import get_logger
from runtime.redaction.redact import excerpt

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0

Result = TypeVar("Result")

log = get_logger(__name__)


class Transactions:
    """Runs pieces of work, each in a transaction of its own."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._autocommit = autocommit(engine)

    async def run(
        self,
        work: Callable[[AsyncConnection], Awaitable[Result]],
        *,
        one_statement: bool = False,
        patient: bool = False,
    ) -> Result:
        """The result of `work`, committed; tried again and again while Postgres is away or not ready for it.

        Not ready is a database that lacks a segment for events, or a table or column.

        A connection that breaks in COMMIT leaves open whether it was done, so `work` must be safe to run again.
        `one_statement`: work that executes a single statement, which is its own transaction. `patient`: also after
        what may pass by itself, such as a lock time-out: for work whose failure nobody could write down.
        """
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                opened = self._autocommit.connect() if one_statement else self._engine.begin()
                async with opened as tx:
                    return await work(tx)
            except Exception as error:
                passes = may_pass(error) if patient else is_unavailable(error)
                if lacks_schema(error):
                    log.error(  # noqa: TRY400 - its trace says nothing more
                        "schema_missing", error=excerpt(str(error), 500), cure="waybill migrate", pause_seconds=pause
                    )
                elif passes or isinstance(error, NoSegmentError):
                    log.warning("database_away", error=excerpt(str(error), 500), pause_seconds=pause)
                else:
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
