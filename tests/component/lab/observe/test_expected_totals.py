"""The expected totals that are more than a number of rows."""

from datetime import timedelta

from lab.observe.expected_totals import attempts_ended, due
from orders.model import AttemptEnd
from orders.workflow import PROMISED_SECONDS
from tests.support.builders.order_rows import place
from tests.support.probes.database import connected

PROMISED = timedelta(seconds=PROMISED_SECONDS)
MICROSECOND = timedelta(microseconds=1)
TRY = """
INSERT INTO order_attempts
  (order_id, step, event_type, generation, claim, attempt, worker, started_at, ended_at, outcome)
VALUES ($1, $2, 'x', $3, 1, 1, 'w', now(), now(), $4)"""


async def test_an_order_is_in_time_to_the_microsecond_and_judged_only_when_it_is_due(
    shared_database_url: str,
) -> None:
    async with connected(shared_database_url) as (connection,):
        await place(connection, "completed", 2 * PROMISED, PROMISED)
        await place(connection, "rejected", 2 * PROMISED, MICROSECOND)
        await place(connection, "completed", 2 * PROMISED, PROMISED + MICROSECOND)
        await place(connection, "synced", 2 * PROMISED)
        await place(connection, "fulfilled", 2 * PROMISED)
        await place(connection, "completed", PROMISED / 2, MICROSECOND)

        assert await due(connection) == {"in_time": 2, "late": 3}


async def test_attempts_are_counted_by_step_and_outcome(shared_database_url: str) -> None:
    async with connected(shared_database_url) as (connection,):
        order = await place(connection, "reserved", PROMISED)
        ends = [*2 * [("sap", "retried")], ("sap", "away"), ("email", "retried"), ("email", "done")]
        for attempt, (step, end) in enumerate(ends, 1):
            await connection.execute(TRY, order, step, attempt, end)

        assert await attempts_ended(connection, AttemptEnd.RETRIED) == {"sap": 2, "email": 1}
        assert await attempts_ended(connection, AttemptEnd.AWAY) == {"sap": 1}
