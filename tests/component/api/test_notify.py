"""An order that is placed hints at the relay, after its commit and only then."""

import asyncio
from pathlib import Path

from outbox.notify import APPLICATION_NAME, CHANNEL
from tests.support.builders.in_process_api import order_body, running_api
from tests.support.probes.database import connected

WHO = "SELECT application_name FROM pg_stat_activity WHERE pid = $1"


async def test_a_placed_order_gives_a_hint_once_it_is_committed(database_url: str, tmp_path: Path) -> None:
    hints: asyncio.Queue[int] = asyncio.Queue()

    async with connected(database_url) as (listener,), running_api(database_url, tmp_path) as api:
        await listener.add_listener(CHANNEL, lambda _connection, pid, *_: hints.put_nowait(pid))
        for reference, status in (("first", 202), ("first", 409), ("second", 202)):
            answer = await api.client.post("/orders", json=order_body(reference=reference))
            assert answer.status_code == status
            if status == 202:
                pid = await hints.get()
                assert await listener.fetchval(WHO, pid) == APPLICATION_NAME
        events = await listener.fetchval("SELECT count(*) FROM outbox.events")
    assert (events, hints.qsize()) == (2, 0)


async def test_orders_are_accepted_when_no_hint_can_be_sent(database_url: str, tmp_path: Path) -> None:
    async with connected(database_url) as (locker,), running_api(database_url, tmp_path) as api:
        for reference in ("opens the connections", "while the hint's is ended"):
            answer = await api.client.post("/orders", json=order_body(reference=reference))
            assert answer.status_code == 202
            await locker.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                f"WHERE application_name = '{APPLICATION_NAME}' AND datname = current_database()"
            )
