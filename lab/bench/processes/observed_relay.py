"""The real relay as a process that records each statement and each confirm.

Started as `python -m lab.bench.processes.observed_relay FILE`.

Statements are counted on every connection that asyncpg opens, so none is missed; confirms where the publisher hands
them on. The observations are written to FILE when the relay has stopped.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any
from unittest.mock import patch

import asyncpg
from asyncpg import Connection, Record

from lab.bench.observations import Observations, write
from outbox.cursor.reader import Row
from relay import pipeline
from relay.__main__ import main
from relay.publisher import Outcome, Publisher, Refuse, Settle

seen = Observations()


class ObservedPublisher(Publisher):
    """Records when an event is confirmed."""

    def __init__(self, exchange: str, settle: Settle, refused: Refuse) -> None:
        def record(rows: Sequence[Row], outcome: Outcome) -> None:
            if outcome is Outcome.CONFIRMED:
                seen.confirmed.update(dict.fromkeys((str(row.event_id) for row in rows), monotonic()))
            settle(rows, outcome)

        super().__init__(exchange, record, refused)

    def publish(self, rows: Sequence[Row]) -> list[tuple[Row, str]]:
        """Publish, and record the time of the first publish."""
        seen.first_publish = seen.first_publish or monotonic()
        return super().publish(rows)


_connect = asyncpg.connect


async def _connect_noting(*args: Any, **options: Any) -> "Connection[Record]":  # noqa: ANN401 - as asyncpg takes them
    connection: Connection[Record] = await _connect(*args, **options)
    connection.add_query_logger(lambda _: seen.statements.append(monotonic()))
    return connection


if __name__ == "__main__":
    with patch.object(asyncpg, "connect", _connect_noting), patch.object(pipeline, "Publisher", ObservedPublisher):
        main()
    write(Path(sys.argv[1]), seen)
