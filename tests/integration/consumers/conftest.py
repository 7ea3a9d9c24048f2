"""A database for the steps' tests: one for all, because each test has orders of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.servers import ServerUrls
from runtime.settings import Settings
from tests import servers as real
from tests.sandboxes import Sap, Smtp


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
        sap_timeout_seconds=2,
        retry_base_seconds=4,
        sap_retry_base_seconds=4,
    )
