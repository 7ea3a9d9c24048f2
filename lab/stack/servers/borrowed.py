"""Given servers: a trial must leave them as it found them."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from lab.stack.errors import UnsafeTargetError
from ops.doctor import broker_client
from ops.errors import ServerError
from orders.workflow import STEPS, UNROUTED_QUEUE


@contextmanager
def demo_database(server_url: str | None) -> Iterator[str | None]:
    """A database `waybill_demo_<random>` on the given server, dropped at the end; None without a server."""
    if server_url is None:
        yield None
        return
    name = f"waybill_demo_{secrets.token_hex(6)}"
    asyncio.run(_execute(server_url, f"CREATE DATABASE {name}"))
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        asyncio.run(_execute(server_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


def refuse_loaded_broker(amqp_url: str) -> None:
    """Raise UnsafeTargetError if one of Waybill's queues holds messages: a trial would consume them."""
    queues = [queue for step in STEPS for queue in (step.queue, step.dead_letter_queue)]
    with broker_client.connection(amqp_url) as link:
        states = broker_client.queue_states(link, [*queues, UNROUTED_QUEUE])
    loaded = {queue: state.messages for queue, state in states.items() if state and state.messages}
    if loaded:
        raise UnsafeTargetError(
            f"the broker of AMQP_URL holds messages of Waybill ({loaded}), which a demo would consume; "
            "give it another virtual host, or empty those queues first"
        )


async def _execute(url: str, statement: str) -> None:
    try:
        connection = await asyncpg.connect(url, timeout=10)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise ServerError(f"no PostgreSQL at the given DATABASE_URL: {error}") from error
    try:
        await connection.execute(statement)
    except asyncpg.PostgresError as error:
        raise ServerError(f"`{statement}` failed on the given server: {error}") from error
    finally:
        await connection.close()
