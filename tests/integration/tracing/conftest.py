"""A database of the module's own, and a broker with the product's queues."""

from pathlib import Path

import pytest

from runtime.settings import Settings
from tests.integration.consumers.worker_process import apply_topology
from tests.sandboxes import Sap, Smtp
from tests.shared_database import module_database, shared_database_url

__all__ = ["module_database", "shared_database_url"]


@pytest.fixture
def settings(shared_database_url: str, amqp_url: str, sap: Sap, inbox: Smtp, tmp_path: Path) -> Settings:
    """Everything there, with short waits."""
    settings = Settings(
        database_url=shared_database_url,
        amqp_url=amqp_url,
        sap_url=sap.url,
        smtp_port=inbox.port,
        documents_dir=tmp_path / "documents",
        retry_base_seconds=0.2,
        sap_retry_base_seconds=0.2,
        sap_commit_seconds=0.5,
        delivery_lease_seconds=5,
        relay_lease_seconds=10,
    )
    apply_topology(settings)
    return settings
