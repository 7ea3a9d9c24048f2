"""The servers that the tests use."""

import asyncpg
import pytest

from lab.stack.servers.obtain import ServerUrls
from ops.doctor import broker_client
from ops.errors import ServerError


async def test_postgres_keeps_every_commit_through_a_power_cut(servers: ServerUrls) -> None:
    async def settings() -> dict[str, str]:
        connection = await asyncpg.connect(servers.database_url)
        try:
            names = ("fsync", "synchronous_commit", "full_page_writes")
            return {name: await connection.fetchval("SELECT current_setting($1)", name) for name in names}
        finally:
            await connection.close()

    assert set((await settings()).values()) == {"on"}


def test_the_broker_has_the_features_that_the_topology_needs(servers: ServerUrls) -> None:
    with broker_client.connection(servers.amqp_url) as link:
        product, version = broker_client.version(link).split(" ", 1)
        missing = broker_client.queue_states(link, ["no-such-queue"])

    assert product == "RabbitMQ"
    assert tuple(map(int, version.split(".")[:2])) >= (3, 10)
    assert missing == {"no-such-queue": None}


async def test_each_test_gets_a_database_of_its_own(empty_database_url: str, servers: ServerUrls) -> None:
    assert empty_database_url != servers.database_url

    async def tables() -> int:
        connection = await asyncpg.connect(empty_database_url)
        try:
            await connection.execute("CREATE TABLE mine (id int)")
            return int(await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"))
        finally:
            await connection.close()

    assert await tables() == 1


@pytest.mark.parametrize("url", ["amqp://guest:guest@127.0.0.1:1/"])
def test_an_unreachable_broker_is_named_with_host_and_port(url: str) -> None:
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:1"), broker_client.connection(url):
        pass
