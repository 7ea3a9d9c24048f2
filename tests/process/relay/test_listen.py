"""A hint ends the relay's wait for its next poll."""

import asyncio
import time
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from outbox.cursor.reader import FIRST_PAGE, SNAPSHOT
from outbox.notify import Hint
from tests.support.builders.events import new_event
from tests.support.probes.database import Asyncpg, committed, connected, engine_of
from tests.support.probes.relay_harness import RelayHarness
from tests.support.processes.relay import relay

# A pause between two polls is twice the one before: after 1.1 s without a poll it is one of 2 s.
LONG_SINCE_A_POLL = """
SELECT max(query_start) < clock_timestamp() - interval '1.1 s' FROM pg_stat_activity
WHERE datname = current_database() AND left(query, 100) = ANY($1::text[])"""
NOT_PUBLISHED = "SELECT coalesce(sum(events), 0) < $1 FROM outbox.pages"
POLLS = [statement[:100] for statement in (SNAPSHOT, FIRST_PAGE)]
BEFORE_THE_NEXT_POLL_SECONDS = 0.8
EVENTS = 3  # a pause of the machine makes one late now and then; without hints all are


async def test_a_hint_has_an_idle_relay_poll_at_once_and_without_one_it_sleeps_on(
    harness: RelayHarness, tmp_path: Path
) -> None:
    async def in_time(hint: Hint, observer: Asyncpg, engine: AsyncEngine, number: int) -> bool:
        """Whether an event slept until the hint, and was published before the next poll."""
        await asyncio.to_thread(harness.wait_until, LONG_SINCE_A_POLL, POLLS)
        began = time.monotonic()
        await committed(engine, [new_event()])
        slept = await observer.fetchval(NOT_PUBLISHED, number)
        hint.give()
        while await observer.fetchval(NOT_PUBLISHED, number):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return slept and time.monotonic() - began < BEFORE_THE_NEXT_POLL_SECONDS

    with relay(harness.database_url, harness.amqp_url, tmp_path, idle_poll_seconds=10) as process:
        process.wait_for("leading")
        """How many events it took until one was in time."""
        hint = Hint(harness.database_url)
        hint.open()
        async with connected(harness.database_url) as (observer,), engine_of(harness.database_url) as engine:
            number = 1
            while not await in_time(hint, observer, engine, number):
                number += 1
                assert number <= EVENTS
        await hint.close()
        recorded = number
    assert len(harness.take("validation")) == recorded
