"""Leases on a real Postgres: acquired, released and lost, without a relay process."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest

from outbox.cursor.reader import FencedError
from relay.connections import NO_WAIT_FOR_DISK
from relay.leadership import Leadership
from tests.support.probes.database import connected, run

NEVER = 3600  # a lease that no test waits out
LEASE = "SELECT expires_at > clock_timestamp() FROM outbox.leases"


async def test_a_relay_asked_to_stop_at_any_moment_of_its_acquisition_leaves_no_lease_behind(
    shared_database_url: str,
) -> None:
    async with connected(shared_database_url, 2) as (own, observer):
        acquired: list[bool] = []
        while sum(acquired) < 10:  # from before the first statement until well after the last one
            stopping = asyncio.Event()
            leadership = Leadership(own, NEVER, "it")
            waiting = asyncio.create_task(leadership.wait_to_lead(stopping))
            await asyncio.sleep(0.0002 * len(acquired))
            stopping.set()
            acquired.append(await waiting is not None)
            await leadership.release()
            assert not await observer.fetchval(LEASE), f"asked at moment {len(acquired)}"
        assert not acquired[0]


async def test_a_release_reaches_also_a_lease_whose_grant_was_never_read(shared_database_url: str) -> None:
    async with connected(shared_database_url, 2) as (own, observer):
        leadership = Leadership(own, NEVER, "it")
        acquiring = asyncio.create_task(leadership.wait_to_lead(asyncio.Event()))
        while not await observer.fetchval(LEASE):
            pass
        acquiring.cancel()
        await asyncio.wait([acquiring])
        await leadership.release()
        assert not await observer.fetchval(LEASE)


def test_a_leader_whose_loop_hangs_is_replaced_and_learns_it_when_the_loop_turns_again(
    shared_database_url: str,
) -> None:
    hanging, replaced = threading.Event(), threading.Event()

    async def hang_while_leading() -> None:
        connection = await asyncpg.connect(shared_database_url, server_settings=NO_WAIT_FOR_DISK)
        try:
            leadership = Leadership(connection, 1, "the one that hangs")
            epoch = await leadership.wait_to_lead(asyncio.Event())
            assert epoch == 1
            keeping = asyncio.create_task(leadership.keep(epoch))
            await asyncio.sleep(0)
            hanging.set()
            replaced.wait(30)  # the process lives, its loop does not turn
            with pytest.raises(FencedError):
                await keeping
        finally:
            await connection.close()

    async def follow() -> None:
        async with connected(shared_database_url) as (connection,):
            while await connection.fetchval(LEASE):  # noqa: ASYNC110 - the database is what is waited for
                await asyncio.sleep(0.01)
            successor = Leadership(connection, NEVER, "its successor")
            assert await successor.wait_to_lead(asyncio.Event()) == 2

    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(asyncio.run, hang_while_leading())
        try:
            assert hanging.wait(30)
            run(follow)
        finally:
            replaced.set()
        leader.result(30)
