"""`waybill collector` as a process: killed at its worst moments, without a database, stopped."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from consumers.collector.queues import BATCH_DEAD_LETTERS
from lab.stack.ports import free_port
from lab.tcp_proxy.proxy import proxied
from tests.support.deadlines import ANSWER_SECONDS, wait_until
from tests.support.probes.collector_harness import CollectorHarness
from tests.support.probes.database import Asyncpg
from tests.support.probes.metrics_page import metric
from tests.support.processes.collector import collector
from tests.support.processes.program import RunningProgram
from tests.support.servers.private_servers import OwnPostgres
from tests.support.servers.webhook import Webhook, webhook

DEAD_LETTERS = 150

# Waits within the commit for a lock that the test holds.
WAIT_IN_COMMIT = """
CREATE FUNCTION outbox.wait_in_commit() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER wait_in_commit AFTER INSERT ON outbox.dead_letters
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION outbox.wait_in_commit()"""


class Holder:
    """A session that holds locks, and one that reads: a transaction sees the sessions of others as they once were."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._runner = asyncio.Runner()
        self._holding, self._looking = self._runner.run(self._open()), self._runner.run(self._open())

    async def _open(self) -> Asyncpg:
        return await asyncpg.connect(self._url)

    def execute(self, statement: str) -> None:
        self._runner.run(self._holding.execute(statement))

    def blocks_a_session(self) -> bool:
        return bool(self._ask("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))

    def dead_letters(self) -> int:
        return int(self._ask("SELECT count(*) FROM outbox.dead_letters"))

    def close(self) -> None:
        for connection in (self._holding, self._looking):
            self._runner.run(connection.close())
        self._runner.close()

    def _ask(self, question: str) -> Any:
        return self._runner.run(self._looking.fetchval(question))


@pytest.fixture
def holder(collector_harness: CollectorHarness) -> Iterator[Holder]:
    with closing(Holder(collector_harness.settings.database_url)) as holder:
        yield holder


def publish(collector_harness: CollectorHarness, dead_letters: int = DEAD_LETTERS) -> set[bytes]:
    bodies = {b"%d" % n for n in range(dead_letters)}
    for body in bodies:
        collector_harness.queues.publish("sap.dlq", body, {})
    return bodies


@contextmanager
def running(collector_harness: CollectorHarness, folder: Path, **settings: object) -> Iterator[RunningProgram]:
    given = {
        "database_url": collector_harness.settings.database_url,
        "amqp_url": collector_harness.settings.amqp_url,
        **settings,
    }
    url, amqp_url = str(given.pop("database_url")), str(given.pop("amqp_url"))
    with collector(url, amqp_url, folder, **given) as process:
        yield process


def assert_each_is_one_dead_letter(collector_harness: CollectorHarness, folder: Path, bodies: set[bytes]) -> None:
    """Another collector ends the work; then every message is a dead letter once, and none is left."""
    with running(collector_harness, folder):
        wait_until(lambda: len(collector_harness.dead_letters()) == len(bodies), "all dead letters")
        collector_harness.queues.wait_for("sap.dlq", 0)
    rows = collector_harness.in_database(lambda database: database.sql("SELECT body FROM outbox.dead_letters"))
    assert sorted(bytes(row["body"]) for row in rows) == sorted(bodies)


def test_killed_before_its_commit_it_has_moved_nothing(
    collector_harness: CollectorHarness, holder: Holder, tmp_path: Path
) -> None:
    bodies = publish(collector_harness)
    holder.execute("BEGIN; LOCK TABLE outbox.dead_letters IN SHARE MODE")
    with running(collector_harness, tmp_path) as process:
        wait_until(holder.blocks_a_session, "a collector that waits to insert")
        process.kill()
    holder.execute("COMMIT")
    collector_harness.queues.wait_for("sap.dlq", DEAD_LETTERS)
    assert_each_is_one_dead_letter(collector_harness, tmp_path, bodies)


def test_killed_between_its_commit_and_its_acknowledgement_it_makes_no_second_dead_letter(
    collector_harness: CollectorHarness, holder: Holder, tmp_path: Path
) -> None:
    bodies = publish(collector_harness)
    holder.execute(WAIT_IN_COMMIT)
    try:
        holder.execute("SELECT pg_advisory_lock(4711)")
        with (
            proxied(collector_harness.settings.database_url) as (url, proxy),
            running(collector_harness, tmp_path, database_url=url) as process,
        ):
            wait_until(holder.blocks_a_session, "a collector that waits in its commit")
            proxy.hold_answers()
            holder.execute("SELECT pg_advisory_unlock(4711)")
            wait_until(lambda: holder.dead_letters() == DEAD_LETTERS, "the commit")
            process.kill()
        collector_harness.queues.wait_for("sap.dlq", DEAD_LETTERS)  # nothing was acknowledged
    finally:
        holder.execute("DROP TRIGGER wait_in_commit ON outbox.dead_letters; DROP FUNCTION outbox.wait_in_commit")
    assert_each_is_one_dead_letter(collector_harness, tmp_path, bodies)


def test_stopped_it_ends_in_good_order_and_leaves_unstored_messages(
    collector_harness: CollectorHarness, holder: Holder, tmp_path: Path
) -> None:
    bodies = publish(collector_harness, BATCH_DEAD_LETTERS + 50)
    holder.execute("BEGIN; LOCK TABLE outbox.dead_letters IN SHARE MODE")
    with running(collector_harness, tmp_path) as process:
        wait_until(holder.blocks_a_session, "a collector that waits to insert")
        process.process.terminate()
        holder.execute("COMMIT")
        assert process.process.wait(ANSWER_SECONDS) == 0
        assert process.logged("collector_stopped")
        assert not process.logged("collecting_failed")
    assert holder.dead_letters() == BATCH_DEAD_LETTERS  # the running batch was finished, and no other started
    assert_each_is_one_dead_letter(collector_harness, tmp_path, bodies)


def test_stopped_while_it_is_idle_it_ends_at_once(collector_harness: CollectorHarness, tmp_path: Path) -> None:
    with running(collector_harness, tmp_path) as process:
        process.wait_for("collecting")
        assert process.stop() == 0


def test_without_postgres_the_dead_letters_stay_in_the_broker_and_are_collected_when_it_is_back(
    collector_harness: CollectorHarness, own_postgres: OwnPostgres, tmp_path: Path
) -> None:
    with running(collector_harness, tmp_path, database_url=own_postgres.url) as process:
        process.wait_for("collecting")
        with own_postgres.crashed():
            publish(collector_harness)
            process.wait_for("collecting_postponed", 2)
            collector_harness.queues.wait_for("sap.dlq", DEAD_LETTERS)
        with closing(Holder(own_postgres.url)) as holder:
            wait_until(lambda: holder.dead_letters() == DEAD_LETTERS, "all dead letters")
        collector_harness.queues.wait_for("sap.dlq", 0)
        assert not process.logged("collecting_failed")


def test_it_serves_its_figures(collector_harness: CollectorHarness, tmp_path: Path) -> None:
    port = free_port()
    with running(collector_harness, tmp_path, collector_http_port=port) as process:
        process.wait_for("collecting")
        publish(collector_harness, 3)
        process.wait_for("dead_letters_stored")
        kind = {"queue": "sap", "reason": "undecodable"}
        wait_until(lambda: metric(port, "waybill_dead_letters_open", **kind) == 3, "the figure of open dead letters")
        assert metric(port, "waybill_dead_letters_stored_total", **kind) == 3
        assert metric(port, "waybill_dead_letters_open") == 3
        assert metric(port, "waybill_steps_dead_lettered_total", step="sync_order_to_sap") == 3
        assert time.time() - metric(port, "waybill_collector_last_success_timestamp_seconds") < 60


def test_a_port_that_is_taken_is_named_with_its_settings(collector_harness: CollectorHarness, tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        running(collector_harness, tmp_path, collector_http_port=taken.getsockname()[1]) as process,
    ):
        assert process.process.wait(ANSWER_SECONDS) == 1
        assert "COLLECTOR_HTTP_PORT" in process.log.read_text()


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as taking:
        yield taking


def test_the_collector_alerts_once_and_never_logs_the_address(
    collector_harness: CollectorHarness, hook: Webhook, tmp_path: Path
) -> None:
    settings = collector_harness.settings
    hook.status = 503
    with collector(settings.database_url, settings.amqp_url, tmp_path, alert_webhook_url=hook.url) as process:
        process.wait_for("collecting")
        for n in range(5):
            collector_harness.queues.publish("sap.dlq", b"%d" % n, {})
        process.wait_for("alert_refused")
        hook.status = 200
        process.wait_for("alert_sent")
        collector_harness.queues.publish("sap.dlq", b"one more", {})
        process.wait_for("dead_letters_stored", 2)
        assert process.stop() == 0
        assert Webhook.SECRET not in process.log.read_text()
    assert len(hook.texts) == 1
    assert "new dead letter" in hook.texts[0]
