"""A hint ends the relay's wait for its next poll."""

import asyncio
import time
from pathlib import Path

from outbox.hint import Hint
from outbox.reader import FIRST_PAGE, SNAPSHOT
from tests.messages import new_event
from tests.outbox_to_broker import Ends
from tests.postgres import committed, connected, engine_of
from tests.relay_process import relay

# A pause between two polls is twice the one before: after 1.1 s without a poll it is one of 2 s.
LONG_SINCE_A_POLL = """
SELECT max(query_start) < clock_timestamp() - interval '1.1 s' FROM pg_stat_activity
WHERE datname = current_database() AND left(query, 100) = ANY($1::text[])"""
NOTHING_PUBLISHED = "SELECT NOT EXISTS (SELECT FROM outbox.pages)"
POLLS = [statement[:100] for statement in (SNAPSHOT, FIRST_PAGE)]
BEFORE_THE_NEXT_POLL_SECONDS = 0.8


def test_a_hint_has_an_idle_relay_look_at_once_and_without_one_it_sleeps_on(ends: Ends, tmp_path: Path) -> None:
    async def hinted() -> None:
        hint = Hint(ends.database_url)
        hint.open()
        async with connected(ends.database_url) as (observer,), engine_of(ends.database_url) as engine:
            await asyncio.to_thread(ends.wait_until, LONG_SINCE_A_POLL, POLLS)
            began = time.monotonic()
            await committed(engine, [new_event()])
            assert await observer.fetchval(NOTHING_PUBLISHED)
            hint.give()
            while await observer.fetchval(NOTHING_PUBLISHED):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            assert time.monotonic() - began < BEFORE_THE_NEXT_POLL_SECONDS
        await hint.close()

    with relay(ends.database_url, ends.amqp_url, tmp_path, idle_poll_seconds=10) as process:
        process.wait_for("leading")
        asyncio.run(hinted())
    assert len(ends.take("validation")) == 1
