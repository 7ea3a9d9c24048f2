"""The environment of a benchmark: two real servers, a migrated template database, six queues; all removed afterwards.

The servers are those of DATABASE_URL and AMQP_URL, else private ones below .local/bench. On given servers databases and
queues have names of their own, so the owner's are not touched. The queues are the product's first six step queues in
everything but their names; each receives every event of the benchmark.
"""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from consumers import topology
from lab.bench.messages import EVENT_TYPE
from lab.stack.commands import LOCAL
from lab.stack.instance import Instance
from lab.stack.servers.borrowed import demo_database
from lab.stack.servers.obtain import servers
from migrations.upgrade import upgrade
from ops.doctor.broker_client import connection
from ops.errors import ServerError
from orders.workflow import STEPS
from outbox import required_queues
from runtime.settings import Settings

QUEUES = 6


@dataclass(frozen=True)
class Ground:
    """The servers, with a migrated database that is only ever copied, and the queues of `exchange`."""

    instance: Instance
    server_url: str
    template_url: str
    amqp_url: str
    exchange: str
    queues: tuple[str, ...]

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Settings]:
        """The settings of a system with a fresh database, which is dropped afterwards."""
        template = urlsplit(self.template_url).path[1:]
        name = f"{template}_{secrets.token_hex(3)}"
        url = urlunsplit(urlsplit(self.template_url)._replace(path=f"/{name}"))
        admin = await asyncpg.connect(self.server_url)
        try:
            await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
            try:
                await self._require_queues(url)
                yield Settings(database_url=url, amqp_url=self.amqp_url, event_exchange=self.exchange)
            finally:
                await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        finally:
            await admin.close()

    async def _require_queues(self, url: str) -> None:
        """Make the six queues required ones for the relay of this database."""
        database = await asyncpg.connect(url)
        try:
            await required_queues.replace(database, self.queues)
        finally:
            await database.close()

    def empty_queues(self) -> None:
        """Purge all six queues."""
        with connection(self.amqp_url) as link:
            channel = link.channel()
            for queue in self.queues:
                channel.queue_purge(queue)


@contextmanager
def prepared() -> Iterator[Ground]:
    """The environment for the time of the block; stopped and removed afterwards. Raises OpsError."""
    instance = Instance(LOCAL / "bench")
    own_servers = Instance(instance.folder / "servers")
    with instance.locked():
        for left_over in (instance, own_servers):
            left_over.stop_processes()
        instance.erase()
        instance.logs.mkdir(parents=True)
        with ExitStack() as stack:
            urls = stack.enter_context(servers(own_servers.folder))
            template_url = stack.enter_context(demo_database(urls.database_url))
            assert template_url is not None, "None is returned only without a server"
            upgrade(template_url)
            exchange = f"bench-{secrets.token_hex(4)}"
            queues = stack.enter_context(_queues(urls.amqp_url, exchange))
            yield Ground(instance, urls.database_url, template_url, urls.amqp_url, exchange, queues)
        own_servers.erase()  # logs stay, and all of it after a failure


@contextmanager
def _queues(amqp_url: str, exchange: str) -> Iterator[tuple[str, ...]]:
    """The exchange and its queues, declared as the topology describes them; deleted afterwards."""
    event_exchange = topology.exchanges(exchange)[-1]
    queues = {f"{exchange}.{step.queue}": topology.step_queue(step, exchange) for step in STEPS[:QUEUES]}
    try:
        with connection(amqp_url) as link:
            channel = link.channel()
            arguments = event_exchange.arguments
            channel.exchange_declare(
                exchange, event_exchange.type, durable=True, auto_delete=False, arguments=arguments
            )
            for name, queue in queues.items():
                channel.queue_declare(name, durable=True, auto_delete=False, arguments=queue.queue_arguments)
                channel.queue_bind(name, exchange, EVENT_TYPE)
        yield tuple(queues)
    finally:
        with (
            suppress(ServerError),
            connection(amqp_url) as link,
        ):  # the error of a broker that is gone was raised already
            channel = link.channel()
            for name in queues:
                channel.queue_delete(name)
            channel.exchange_delete(exchange)
