"""A database for the steps' tests: one for all, because each test has orders of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.stack.servers.obtain import ServerUrls
from ops.doctor.broker_client import connection
from runtime.settings import Settings
from tests import servers as real
from tests.integration.consumers.broker_queues import Queues
from tests.integration.consumers.morgue import Morgue
from tests.integration.consumers.worker_process import apply_topology
from tests.own_servers import own_postgres
from tests.sandboxes import Sap, Smtp
from tests.shared_database import module_database, shared_database_url

__all__ = ["module_database", "own_postgres", "shared_database_url"]


@pytest.fixture(scope="package")
def steps_database_url(servers: ServerUrls, migrated_template: str) -> Iterator[str]:
    """A migrated database that these tests share; each has orders, products and customers of its own."""
    with real.database(servers.database_url, migrated_template) as url:
        yield url


@pytest.fixture
def settings(steps_database_url: str, sap: Sap, inbox: Smtp, tmp_path: Path) -> Settings:
    """Short waits, so that a test sees every one of them; the broker is not needed."""
    return Settings(
        database_url=steps_database_url,
        amqp_url="amqp://guest:guest@127.0.0.1:1/",
        database_pool_size=20,
        sap_url=sap.url,
        smtp_port=inbox.port,
        documents_dir=tmp_path / "documents",
        delivery_lease_seconds=5,
        sap_commit_seconds=1,
        retry_base_seconds=4,
        sap_retry_base_seconds=4,
    )


@pytest.fixture
def morgue(shared_database_url: str, amqp_url: str) -> Iterator[Morgue]:
    """The product's queues, empty, and a database without letters."""
    settings = Settings(database_url=shared_database_url, amqp_url=amqp_url)
    apply_topology(settings)
    with Queues.of(amqp_url) as queues, connection(amqp_url) as link:
        yield Morgue(settings, queues, link.channel())
