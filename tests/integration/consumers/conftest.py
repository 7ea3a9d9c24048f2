"""Sandboxes and a database for the steps' tests: one of each for all, because each test has orders of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.servers import ServerUrls
from runtime.settings import Settings
from tests import servers as real
from tests.sandboxes import Sap, Smtp, start_sap, start_smtp

NO_FAULTS = {
    "error_rate": 0,
    "timeout_rate": 0,
    "lost_rate": 0,
    "late_rate": 0,
    "outage": False,
    "retry_after_seconds": None,
    "latency_ms": [0, 1],
}


@pytest.fixture(scope="package")
def running_sap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sap]:
    with start_sap(tmp_path_factory.mktemp("sap")) as running:
        yield running


@pytest.fixture(scope="package")
def running_inbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smtp]:
    with start_smtp(tmp_path_factory.mktemp("smtp")) as running:
        yield running


@pytest.fixture
def sap(running_sap: Sap) -> Sap:
    """The SAP sandbox, without faults."""
    running_sap.faults(**NO_FAULTS)
    return running_sap


@pytest.fixture
def inbox(running_inbox: Smtp) -> Smtp:
    """The mail server, refusing nobody."""
    running_inbox.refuse()
    return running_inbox


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
