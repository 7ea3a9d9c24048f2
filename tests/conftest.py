"""The fixtures of every test, and the lanes. Servers come from lab.stack.servers.obtain, databases from support."""

import shutil
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from lab.sandbox.sap.faults import NO_FAULTS
from lab.stack.servers import docker
from lab.stack.servers.obtain import ServerUrls, given_amqp_url, given_database_url
from lab.stack.servers.obtain import servers as start_servers
from ops.doctor import broker_client as ops_broker
from tests.support.deadlines import ANSWER_SECONDS
from tests.support.fixtures.shared_database import empty_module_database, module_database, shared_database_url
from tests.support.paths import SESSIONS
from tests.support.processes.sandboxes import Sap, Smtp, start_sap, start_smtp
from tests.support.scheduling import UnitScheduling, longest_first, place_of
from tests.support.servers import broker_cleanup as broker
from tests.support.servers import databases as real
from tests.support.servers.private_servers import own_postgres, own_postgres_server, own_rabbitmq

__all__ = [
    "empty_module_database",
    "module_database",
    "own_postgres",
    "own_postgres_server",
    "own_rabbitmq",
    "shared_database_url",
]

# The contract tests that start nothing.
PURE_CONTRACTS = {"test_mailer.py"}
# Fixtures that start a server or a program.
STARTING = {"servers", "own_postgres_server", "own_rabbitmq", "running_sap", "running_inbox"}

# An operator gets the error after seconds; a test on a busy machine waits longer for a broker.
ops_broker.CONNECT_SECONDS = ANSWER_SECONDS


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its lane, which is its folder, and with `fast` if it starts no server."""
    for item in items:
        lane, name = place_of(item.path)
        item.add_marker(lane)
        pure = lane in {"unit", "config"} or (lane == "contract" and name in PURE_CONTRACTS)
        if pure:
            item.add_marker("fast")
            started = STARTING & set(getattr(item, "fixturenames", ()))
            if started:
                raise pytest.UsageError(f"{item.nodeid} is in a fast folder and starts {', '.join(sorted(started))}")
    items.sort(key=longest_first)


@pytest.hookimpl(optionalhook=True)  # a hook of pytest-xdist, which a run in one process does not load
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> UnitScheduling:
    """The workers share the tests as `tests.support.scheduling` says, whatever `--dist` names."""
    config.option.loadscopereorder = False
    return UnitScheduling(config, log)


@pytest.fixture(scope="session")
def servers() -> Iterator[ServerUrls]:
    """PostgreSQL and RabbitMQ for this session: given ones, a Docker engine's, or private ones."""
    given = given_database_url() and given_amqp_url()
    if not given and docker.engine_answers():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # testcontainers warns of its own insides
            from tests.support.servers import containers

            with containers.servers() as urls:
                yield urls
        return
    with real.session_folder(SESSIONS) as folder, start_servers(folder) as urls:
        yield urls


@pytest.fixture(scope="session")
def migrated_template(servers: ServerUrls) -> Iterator[str]:
    """The name of a database that has all migrations. No test writes to it."""
    with real.database(servers.database_url) as url:
        real.migrate(url)
        yield url.rsplit("/", 1)[1]


@pytest.fixture
def empty_database_url(servers: ServerUrls) -> Iterator[str]:
    """A database of this test's own without any table."""
    with real.database(servers.database_url) as url:
        yield url


@pytest.fixture
def database_url(servers: ServerUrls, migrated_template: str) -> Iterator[str]:
    """A migrated database of this test's own."""
    with real.database(servers.database_url, migrated_template) as url:
        yield url


@pytest.fixture
def amqp_url(servers: ServerUrls) -> Iterator[str]:
    """The broker, without any of Waybill's queues and exchanges before and after the test."""
    broker.clean(servers.amqp_url)
    try:
        yield servers.amqp_url
    finally:
        broker.clean(servers.amqp_url)


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus's own checker of rules; the package `prometheus` has it."""
    found = shutil.which("promtool")
    assert found, "promtool is not installed; `sudo lab/stack/bootstrap.sh --servers` installs the package that has it"
    return found


@pytest.fixture(scope="session")
def running_sap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sap]:
    """One SAP sandbox for all, because a start costs a second of CPU; tests have order numbers of their own."""
    with start_sap(tmp_path_factory.mktemp("sap")) as running:
        yield running


@pytest.fixture(scope="session")
def running_inbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smtp]:
    """One mail server for all; tests have recipients of their own."""
    with start_smtp(tmp_path_factory.mktemp("smtp")) as running:
        yield running


@pytest.fixture
def sap(running_sap: Sap) -> Sap:
    """The SAP sandbox, without faults."""
    running_sap.faults(**NO_FAULTS, latency_ms=[0, 1])
    return running_sap


@pytest.fixture
def inbox(running_inbox: Smtp) -> Smtp:
    """The mail server. It refuses no recipient."""
    running_inbox.refuse()
    return running_inbox
