"""Sandboxes for the contract tests: one process for all (a start costs a second of CPU), faults off before each test.

Tests tell their own orders and messages apart by references and addresses of their own.
"""

from collections.abc import Iterator

import pytest

from tests.sandboxes import Sap, Smtp, start_sap, start_smtp

NO_FAULTS = {
    "error_rate": 0,
    "timeout_rate": 0,
    "lost_rate": 0,
    "late_rate": 0,
    "outage": False,
    "retry_after_seconds": None,
}


@pytest.fixture(scope="session")
def running_sap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sap]:
    with start_sap(tmp_path_factory.mktemp("sap")) as running:
        yield running


@pytest.fixture
def sap(running_sap: Sap) -> Sap:
    running_sap.faults(**NO_FAULTS)
    return running_sap


@pytest.fixture(scope="session")
def running_inbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smtp]:
    with start_smtp(tmp_path_factory.mktemp("smtp")) as running:
        yield running


@pytest.fixture
def inbox(running_inbox: Smtp) -> Smtp:
    running_inbox.refuse()
    return running_inbox
