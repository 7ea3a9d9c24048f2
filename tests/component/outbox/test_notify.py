"""Hints: few are sent however many are given, never inside a writer's transaction, and a lost one does no harm."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from lab.stack.ports import free_port
from lab.tcp_proxy.proxy import proxied
from outbox import notify as module
from outbox.notify import APPLICATION_NAME, CHANNEL, Hint
from tests.support.builders.events import new_event
from tests.support.probes.database import Asyncpg, committed, connected, engine_of
from tests.support.probes.waking_clock import waking_clock

HINTS_BACKEND = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1"


class Listener:
    """A listener; `heard` are the process ids of the connections that notified it."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self._more = asyncio.Event()

    async def listen(self, connection: Asyncpg) -> None:
        await connection.add_listener(CHANNEL, self._on)

    async def until(self, count: int) -> None:
        while len(self.heard) < count:
            self._more.clear()
            await self._more.wait()

    def _on(self, _connection: object, pid: int, *_: object) -> None:
        self.heard.append(pid)
        self._more.set()


@asynccontextmanager
async def hinting(url: str) -> AsyncIterator[Hint]:
    hint = Hint(url)
    hint.open()
    try:
        yield hint
    finally:
        await hint.close()


async def test_hints_given_while_one_is_on_its_way_become_one_more(shared_database_url: str) -> None:
    with proxied(shared_database_url) as (through, proxy):
        async with connected(shared_database_url) as (connection,), hinting(through) as hint:
            listener = Listener()
            await listener.listen(connection)
            hint.give()
            await listener.until(1)
            proxy.hold_answers()
            hint.give()
            # That the first was heard does not say that its giver has the answer: it is this answer that is
            # held now, or the second's. Either way one hint is on its way.
            await asyncio.to_thread(proxy.held.wait)
            await connection.execute("SELECT")  # every notification has come with this answer
            sent = len(listener.heard)
            for _ in range(100):
                hint.give()
                await asyncio.sleep(0)
            proxy.release_answers()
            await listener.until(sent + 1)
            await asyncio.sleep(10 * module.GAP_SECONDS)  # time for more, if any were to come
            await hint.close()
            await connection.execute("SELECT")
            assert len(listener.heard) == sent + 1


async def test_no_hint_is_no_connection_and_a_closed_giver_leaves_none(shared_database_url: str) -> None:
    async with connected(shared_database_url) as (observer,):
        listener = Listener()
        await listener.listen(observer)
        async with hinting(shared_database_url) as hint:
            await asyncio.sleep(0)
            assert await observer.fetchval(HINTS_BACKEND, APPLICATION_NAME) is None
            hint.give()
            await listener.until(1)
            assert await observer.fetchval(HINTS_BACKEND, APPLICATION_NAME) == listener.heard[0]
        while await observer.fetchval(HINTS_BACKEND, APPLICATION_NAME) is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        hint.give()  # the sending task is gone by then, and giving raises nothing


async def test_a_hint_after_its_connection_was_ended_arrives_over_another(
    shared_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)

    async with connected(shared_database_url) as (observer,), hinting(shared_database_url) as hint:
        listener = Listener()
        await listener.listen(observer)
        hint.give()
        await listener.until(1)
        assert await observer.fetchval("SELECT pg_terminate_backend($1, 10000)", listener.heard[0])
        with capture_logs() as logs:
            hint.give()
            await listener.until(2)
        assert listener.heard[1] != listener.heard[0]
        assert [entry["event"] for entry in logs] == ["hint_not_sent"]


async def test_without_postgres_giving_costs_nothing_and_closing_is_quick() -> None:
    with capture_logs() as logs, waking_clock() as clock:
        async with hinting(f"postgresql://nobody@127.0.0.1:{free_port()}/none") as hint:
            hint.give()
            while not logs:  # noqa: ASYNC110 - until the connection was refused
                await asyncio.sleep(0.005)
            began = clock.seconds
            for _ in range(10_000):
                hint.give()
            assert clock.seconds - began < 1
        assert clock.seconds - began < 2
    assert {entry["event"] for entry in logs} == {"hint_not_sent"}


async def test_a_postgres_that_accepts_and_never_answers_holds_up_neither_giver_nor_closing(
    shared_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.1)

    with proxied(shared_database_url) as (through, proxy), waking_clock() as clock:
        proxy.hold_answers()
        async with hinting(through) as hint:
            hint.give()
            await asyncio.to_thread(proxy.held.wait)
            began = clock.seconds
            hint.give()
        assert clock.seconds - began < module.ANSWER_SECONDS / 2


async def test_recording_an_event_sends_no_notification(shared_database_url: str) -> None:
    async with connected(shared_database_url, 2) as (connection, notifier), engine_of(shared_database_url) as engine:
        listener = Listener()
        await listener.listen(connection)
        await committed(engine, [new_event()])
        await notifier.execute(module.NOTIFY)
        await listener.until(1)
        assert listener.heard == [notifier.get_server_pid()]  # notifications come in order of commit
