"""Faults of servers: restarts, cut connections, answers held back."""

import asyncio
import signal
from urllib.parse import urlsplit

from lab.prove.faults.plan import Planned
from lab.prove.system_under_test import NotObserved, SystemUnderTest
from lab.stack.servers import postgres, rabbitmq
from lab.tcp_proxy.proxy import Proxy

HOLD_SECONDS = 1.0


async def restart_postgres(system: SystemUnderTest, _planned: Planned) -> str:
    """Stop Postgres at once, without a checkpoint; it recovers from its log at the next start."""
    port = _port(system.stack.database_url)
    before = await system.pid("servers:postgres")
    await system.end(before, signal.SIGQUIT)
    await system.until_answered(lambda: asyncio.to_thread(postgres.answers, port))
    return f"{before} ended, {await system.pid('servers:postgres')} has recovered"


async def restart_rabbitmq(system: SystemUnderTest, planned: Planned) -> str:
    """Restart RabbitMQ by SIGTERM or by SIGKILL, as drawn."""
    port = _port(system.stack.amqp_url)
    before = await system.pid("servers:rabbitmq")
    how = signal.SIGTERM if planned.pick < 0.5 else signal.SIGKILL
    await system.end(before, how)
    await system.until_answered(lambda: asyncio.to_thread(rabbitmq.answers, port))
    return f"{before} ended by {how.name}, {await system.pid('servers:rabbitmq')} answers"


async def cut_connections_postgres(system: SystemUnderTest, planned: Planned) -> str:
    """Cut a part of the programs' connections to Postgres, in the middle of any traffic."""
    return await _cut(system, system.postgres, planned)


async def cut_connections_rabbitmq(system: SystemUnderTest, planned: Planned) -> str:
    """Cut a part of the programs' connections to RabbitMQ, in the middle of any traffic."""
    return await _cut(system, system.rabbitmq, planned)


async def hold_answers_postgres(system: SystemUnderTest, _planned: Planned) -> str:
    """Hold Postgres's answers for a second: commits happen, and the client learns of it a second later."""
    return await _hold(system.postgres)


async def hold_answers_rabbitmq(system: SystemUnderTest, _planned: Planned) -> str:
    """Hold RabbitMQ's answers for a second: publishes are confirmed and messages delivered a second late."""
    return await _hold(system.rabbitmq)


async def _cut(system: SystemUnderTest, proxy: Proxy, planned: Planned) -> str:
    """Cut a part of the connections; observed when there were some and a program has connected again."""
    before = proxy.accepted
    ended = await asyncio.to_thread(proxy.cut, 0.3 + 0.7 * planned.pick, planned.pick)
    if not ended:
        raise NotObserved("there was no connection to cut")
    await system.until(lambda: proxy.accepted > before)
    return f"{ended} connections cut"


async def _hold(proxy: Proxy) -> str:
    """Hold answers back; observed when there were some."""
    await asyncio.to_thread(proxy.hold_answers)
    try:
        await asyncio.sleep(HOLD_SECONDS)
    finally:
        held = await asyncio.to_thread(proxy.release_answers)
    if not held:
        raise NotObserved("no server answered in that second")
    return f"answers on {held} connections held back for {HOLD_SECONDS:g} s"


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None, "the stack's own servers have ports"
    return port
