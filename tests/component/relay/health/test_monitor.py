"""The monitor's figures are true whatever the relay itself does."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from lab.tcp_proxy.proxy import proxied
from relay.health import monitor
from relay.health.monitor import Monitor
from relay.health.postgres import PostgresStats
from runtime.settings import Settings
from tests.support.builders.events import new_event
from tests.support.deadlines import wait_until
from tests.support.probes.relay_harness import RelayHarness

OLDEST = "waybill_outbox_oldest_unpublished_age_seconds"
BACKLOG = "waybill_outbox_backlog_events"
SUCCESS = "waybill_relay_monitor_last_success_timestamp_seconds"
POSTGRES_SUCCESS = "waybill_relay_monitor_postgres_last_success_timestamp_seconds"


def test_the_figures_need_no_relay_and_come_back_when_the_database_does(harness: RelayHarness) -> None:
    def figure(name: str) -> float:
        value = REGISTRY.get_sample_value(name)
        assert value is not None
        return value

    with proxied(harness.database_url) as (through, proxy):
        settings = Settings(database_url=through, amqp_url="amqp://127.0.0.1:1/")
        harness.record([new_event()])
        started = time.time()
        with Monitor(settings):
            # This thread only waits; no loop but the monitor's own turns.
            wait_until(lambda: figure(SUCCESS) >= started)
            assert figure(BACKLOG) == 1
            seen = figure(OLDEST)
            assert seen > 0
            assert figure(OLDEST) > seen  # it grows between two readings
            proxy.cut()
            cut = time.time()
            harness.record([new_event(), new_event()])
            wait_until(lambda: figure(SUCCESS) >= cut + 0.5 and figure(BACKLOG) == 3)
            assert figure(OLDEST) > seen
            wait_until(lambda: figure(POSTGRES_SUCCESS) >= cut + 0.5)


def test_a_monitor_without_a_database_ends_when_asked() -> None:
    with Monitor(Settings(database_url="postgresql://nobody@127.0.0.1:1/none", amqp_url="amqp://127.0.0.1:1/")) as it:
        assert it.alive
    assert not it.alive


async def _on_refused(*_: object) -> None:
    raise asyncpg.InsufficientPrivilegeError("no")


async def _never_answered(*_: object) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("read", [_on_refused, _never_answered])
def test_what_cannot_be_read_of_postgres_does_not_hide_the_outbox(
    harness: RelayHarness, monkeypatch: pytest.MonkeyPatch, read: Callable[..., Awaitable[None]]
) -> None:
    monkeypatch.setattr(PostgresStats, "read", read)
    monkeypatch.setattr(monitor, "POSTGRES_LIMIT_SECONDS", 0.05)
    settings = Settings(database_url=harness.database_url, amqp_url="amqp://127.0.0.1:1/")
    harness.record([new_event()])
    started, before = time.time(), REGISTRY.get_sample_value(POSTGRES_SUCCESS)
    with capture_logs() as reported, Monitor(settings):
        wait_until(lambda: bool(reported))
        assert (REGISTRY.get_sample_value(SUCCESS) or 0) >= started
        assert REGISTRY.get_sample_value(BACKLOG) == 1
        assert REGISTRY.get_sample_value(POSTGRES_SUCCESS) == before  # WaybillPostgresNotWatched stands on it
    assert [line["event"] for line in reported] == ["postgres_not_monitored"]
