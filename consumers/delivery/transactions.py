"""Transactions that wait while the database takes no work: the worker keeps its delivery, and no attempt is spent.

A database without the schema counts as one that takes no work. Otherwise a worker that was started before the migration
would dead-letter every delivery. The price: a step that asks for a column that never existed waits as well, and the log
says so (`schema_missing`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from outbox.missing_partition import NoSegmentError
from runtime.database import autocommit, is_unavailable, lacks_schema, may_pass
from runtime.logging import get_logger
from runtime.loops import Backoff
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
        """Run `work` and commit; its result. Repeated while Postgres is away or lacks a partition, table or column.

        A connection that breaks in COMMIT leaves open whether it was committed, so `work` must be safe to run again.
        `one_statement`: `work` executes a single statement, which is its own transaction. `patient`: repeat also after
        an error that may pass by itself, such as a lock time-out. It is for work that writes a failure down: its own
        failure could be written nowhere.
        """
        backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        while True:
            try:
                opened = self._autocommit.connect() if one_statement else self._engine.begin()
                async with opened as tx:
                    return await work(tx)
            except Exception as error:
                passes = may_pass(error) if patient else is_unavailable(error)
                pause = backoff.next()
                if lacks_schema(error):
                    log.error(  # noqa: TRY400 - its trace says nothing more
                        "schema_missing",
                        error=excerpt(str(error), 500),
                        remedy="waybill migrate",
                        retry_in_seconds=pause,
                    )
                elif passes or isinstance(error, NoSegmentError):
                    log.warning("database_away", error=excerpt(str(error), 500), retry_in_seconds=pause)
                else:
                    raise
            await asyncio.sleep(pause)
