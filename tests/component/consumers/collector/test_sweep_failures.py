"""After any failure of the collector each dead letter is stored once, and none blocks the others."""

import asyncio
import json

import pytest
from prometheus_client import REGISTRY

from consumers import topology
from consumers.collector import queues
from consumers.collector.queues import BATCH_DEAD_LETTERS, BROKER_ERRORS, DeadLetterQueues, Taken
from consumers.collector.sweep import Collector, Sweep
from lab.tcp_proxy.proxy import proxied
from runtime.database import make_engine
from tests.support.builders.dead_letters import DeadLetterDatabase
from tests.support.probes.broker_queues import Raw, write_raw_values
from tests.support.probes.collector_harness import CollectorHarness, reserved


def test_any_message_that_comes_again_unacknowledged_is_the_same_dead_letter(
    collector_harness: CollectorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_raw_values(monkeypatch)
    unreadable = Raw(b"T" + (2**62).to_bytes(8))
    collector_harness.die_event("sap", reserved())
    collector_harness.die("sap", b"plain", {"a": 1}, message_id="m")
    collector_harness.die("sap", b"unreadable", {"when": unreadable}, content_type="text/plain")
    collector_harness.die("sap", b"unreadable", {"when": unreadable, "other": 1}, content_type="text/plain")
    collector_harness.queues.wait_for("sap.dlq", 4)  # the first sweep must find all of them
    collector_harness.queues.publish("unrouted", b"nobody's", {"when": unreadable})
    monkeypatch.setattr(DeadLetterQueues, "acknowledge", lambda *_: None)

    async def collect(database: DeadLetterDatabase) -> None:
        collector = Collector(collector_harness.settings, database.engine, asyncio.Event())
        for stored in (5, 0, 0):
            assert (await collector.run_once()).stored == stored
            await collector.close()
            await asyncio.to_thread(collector_harness.queues.wait_for, "sap.dlq", 4)
            await asyncio.to_thread(collector_harness.queues.wait_for, "unrouted", 1)

    collector_harness.in_database(collect)
    assert len(collector_harness.dead_letters()) == 5


def test_batches_are_bounded_and_each_queue_has_its_turn(collector_harness: CollectorHarness) -> None:
    for n in range(BATCH_DEAD_LETTERS + 20):
        collector_harness.queues.publish("sap.dlq", b"%d" % n, {})
    collector_harness.queues.publish("audit.dlq", b"x", {})

    async def sweep(database: DeadLetterDatabase) -> list[Sweep]:
        collector = Collector(collector_harness.settings, database.engine, asyncio.Event())
        sweeps = [await collector.run_once() for _ in range(3)]
        await collector.close()
        return sweeps

    assert collector_harness.in_database(sweep) == [
        Sweep(BATCH_DEAD_LETTERS + 1, BATCH_DEAD_LETTERS + 1, ()),
        Sweep(20, 20, ()),
        Sweep(0, 0, ()),
    ]


def test_a_queue_that_is_not_there_is_named_and_the_others_are_emptied(collector_harness: CollectorHarness) -> None:
    collector_harness.queues.channel.queue_delete("sap.dlq")
    collector_harness.queues.publish("audit.dlq", b"x", {})

    async def sweep(database: DeadLetterDatabase) -> Sweep:
        collector = Collector(collector_harness.settings, database.engine, asyncio.Event())
        try:
            return await collector.run_once()
        finally:
            await collector.close()

    assert collector_harness.in_database(sweep) == Sweep(1, 1, ("sap.dlq",))
    assert REGISTRY.get_sample_value("waybill_collector_missing_queues") == 1
    asyncio.run(topology.apply(collector_harness.settings))
    assert collector_harness.in_database(sweep) == Sweep(0, 0, ())
    assert REGISTRY.get_sample_value("waybill_collector_missing_queues") == 0


def test_a_queue_that_fails_again_and_again_does_not_keep_the_others_full(
    collector_harness: CollectorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    for queue in ("validation", "sap", "audit"):
        collector_harness.queues.publish(f"{queue}.dlq", queue.encode(), {})
    stock = DeadLetterQueues.take

    def take(queues: DeadLetterQueues, queue: str) -> list[Taken]:
        if queue == "sap":
            raise OSError("its leader is gone")
        return stock(queues, queue)

    monkeypatch.setattr(DeadLetterQueues, "take", take)

    async def collect(database: DeadLetterDatabase) -> None:
        stopping = asyncio.Event()
        running = asyncio.create_task(Collector(collector_harness.settings, database.engine, stopping).run())
        async with asyncio.timeout(30):
            while len(await database.dead_letters()) < 2:  # noqa: ASYNC110 - the table has no event
                await asyncio.sleep(0.02)
        stopping.set()
        await running

    collector_harness.in_database(collect)
    assert {dead_letter.queue for dead_letter in collector_harness.dead_letters()} == {"validation", "audit"}
    collector_harness.queues.wait_for("sap.dlq", 1)


def test_a_dead_letter_that_postgres_refuses_is_kept_bare_and_the_others_as_they_are(
    collector_harness: CollectorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No message is known that Postgres refuses so: the test makes one by a limit on the table."""
    collector_harness.in_database(
        lambda database: database.sql(
            "ALTER TABLE outbox.dead_letters ADD CONSTRAINT no_bad CHECK (NOT headers ? 'bad')"
        )
    )
    try:
        for headers in ({"good": 1}, {"bad": 1}, {"good": 2}):
            collector_harness.die("sap", json.dumps(headers).encode(), headers)
        collector_harness.queues.wait_for("sap.dlq", 3)
        found = {whole.body: whole for whole in collector_harness.collect(3)}
        assert set(found[b'{"bad": 1}'].headers) == {"$raw"}
        assert found[b'{"bad": 1}'].dead_letter.error_class == "Unstorable"
        assert found[b'{"good": 2}'].headers["good"] == 2
    finally:
        collector_harness.in_database(
            lambda database: database.sql("ALTER TABLE outbox.dead_letters DROP CONSTRAINT no_bad")
        )


def test_a_collector_whose_connection_is_cut_again_and_again_collects_everything_once(
    collector_harness: CollectorHarness,
) -> None:
    for n in range(300):
        collector_harness.queues.publish("sap.dlq", b"%d" % n, {"n": n})

    async def collect(database: DeadLetterDatabase) -> None:
        stopping = asyncio.Event()
        with proxied(collector_harness.settings.amqp_url) as (amqp_url, proxy):
            settings = collector_harness.settings.model_copy(update={"amqp_url": amqp_url})
            running = asyncio.create_task(Collector(settings, database.engine, stopping).run())
            async with asyncio.timeout(60):
                seen = -1
                while (now := len(await database.dead_letters())) < 300:
                    if now != seen:
                        await asyncio.to_thread(proxy.cut)
                        seen = now
                    await asyncio.sleep(0.02)
            stopping.set()
            await running

    collector_harness.in_database(collect)
    assert len(collector_harness.dead_letters()) == 300


def test_a_broker_that_falls_silent_is_not_waited_for_without_an_end(
    collector_harness: CollectorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector_harness.queues.publish("sap.dlq", b"x", {})

    async def collect(database: DeadLetterDatabase) -> None:
        with proxied(collector_harness.settings.amqp_url) as (amqp_url, proxy):
            settings = collector_harness.settings.model_copy(update={"amqp_url": amqp_url})
            collector = Collector(settings, database.engine, asyncio.Event())
            with monkeypatch.context() as hurried:  # a connection keeps the limit with which it was made
                hurried.setattr(queues, "ANSWER_SECONDS", 3)
                assert await collector.run_once() == Sweep(1, 1, ())
            proxy.fall_silent()
            with pytest.raises(BROKER_ERRORS):
                await collector.run_once()
            await collector.close()
            proxy.release_answers()
            assert await collector.run_once() == Sweep(0, 0, ())
            await collector.close()

    collector_harness.in_database(collect)


def test_while_postgres_is_away_the_dead_letters_stay_in_the_broker(collector_harness: CollectorHarness) -> None:
    for n in range(30):
        collector_harness.queues.publish("sap.dlq", b"%d" % n, {"n": n})

    async def collect(_: DeadLetterDatabase) -> None:
        broken = collector_harness.settings.model_copy(update={"database_url": "postgresql://127.0.0.1:1/away"})
        engine = make_engine(broken, "test")
        collector = Collector(broken, engine, asyncio.Event())
        for _attempt in range(3):
            with pytest.raises(OSError, match="Connect"):
                await collector.run_once()
            await collector.close()
        await engine.dispose()

    collector_harness.in_database(collect)
    collector_harness.queues.wait_for("sap.dlq", 30)
    properties, _ = collector_harness.queues.take("sap.dlq")
    assert properties.headers.get("x-delivery-count", 0) == 0  # not even taken
    assert len(collector_harness.collect(29)) == 29
