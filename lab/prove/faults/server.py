"""Servers restarted, and the ways to them cut or slow."""

import asyncio
import signal
from urllib.parse import urlsplit

from lab.prove.faults.plan import Planned
from lab.prove.proxy import Proxy
from lab.prove.system_under_test import Rig, Unseen
from lab.stack.servers import postgres, rabbitmq

HOLD_SECONDS = 1.0


async def restart_postgres(rig: Rig, _planned: Planned) -> str:
    """Immediate: no checkpoint and no good-bye, and recovery from the log at the next start."""
    port = _port(rig.stack.database_url)
    before = await rig.pid("servers:postgres")
    await rig.end(before, signal.SIGQUIT)
    await rig.until_answered(lambda: asyncio.to_thread(postgres.answers, port))
    return f"{before} gone, {await rig.pid('servers:postgres')} has recovered"


async def restart_rabbitmq(rig: Rig, planned: Planned) -> str:
    """In order or by SIGKILL, as drawn."""
    port = _port(rig.stack.amqp_url)
    before = await rig.pid("servers:rabbitmq")
    how = signal.SIGTERM if planned.pick < 0.5 else signal.SIGKILL
    await rig.end(before, how)
    await rig.until_answered(lambda: asyncio.to_thread(rabbitmq.answers, port))
    return f"{before} ended by {how.name}, {await rig.pid('servers:rabbitmq')} answers"


async def cut_connections_postgres(rig: Rig, planned: Planned) -> str:
    """A part of all connections, whatever is on its way over them."""
    return await _cut(rig, rig.postgres, planned)


async def cut_connections_rabbitmq(rig: Rig, planned: Planned) -> str:
    """A part of all connections, whatever is on its way over them."""
    return await _cut(rig, rig.rabbitmq, planned)


async def hold_answers_postgres(rig: Rig, _planned: Planned) -> str:
    """Commits happen, and who asked for them hears of it a second later."""
    return await _hold(rig.postgres)


async def hold_answers_rabbitmq(rig: Rig, _planned: Planned) -> str:
    """Publishes are confirmed and messages delivered a second late."""
    return await _hold(rig.rabbitmq)


async def _cut(rig: Rig, proxy: Proxy, planned: Planned) -> str:
    """Seen when connections were there to be cut and a program has connected anew."""
    before = proxy.accepted
    ended = await asyncio.to_thread(proxy.cut, 0.3 + 0.7 * planned.pick, planned.pick)
    if not ended:
        raise Unseen("there was no connection to cut")
    await rig.until(lambda: proxy.accepted > before)
    return f"{ended} connections cut"


async def _hold(proxy: Proxy) -> str:
    """Seen when there was something to hold back."""
    await asyncio.to_thread(proxy.hold)
    try:
        await asyncio.sleep(HOLD_SECONDS)
    finally:
        held = await asyncio.to_thread(proxy.release)
    if not held:
        raise Unseen("nothing was answered in that second")
    return f"{held} answers held back for {HOLD_SECONDS:g} s"


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None, "the stack's own servers have ports"
    return port
