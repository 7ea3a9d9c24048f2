"""An event that can never be published is dead-lettered, and the stream continues around it.

The cursor advances past it, events behind it on its subject follow in order, and a relay that finds it again writes no
second dead letter.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ops.doctor.broker_client import connection
from outbox.envelope import Event, encode_headers
from tests.support.builders.events import new_event
from tests.support.probes.database import run
from tests.support.probes.relay_harness import EVENT_EXCHANGE, RelayHarness, assert_all_there_in_order, ids, numbered
from tests.support.processes.relay import relay
from tests.support.servers.private_servers import OwnRabbitMQ

LARGEST = 65_536
TOO_LARGE = b'"%s"' % (b"x" * 100_000)
INSERT = """
INSERT INTO outbox.events (event_id, type, subject, source, time, dataschema, destination, generation, data)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""


@pytest.fixture
def strict(private_broker_harness: RelayHarness, own_rabbitmq: OwnRabbitMQ) -> Iterator[RelayHarness]:
    """Before a broker that closes a channel for a message of more than LARGEST bytes."""
    with own_rabbitmq.largest_message(LARGEST):
        yield private_broker_harness


def insert(harness: RelayHarness, events: Sequence[Event], destination: str | None = None) -> None:
    """Commit events past `record`, which refuses some of them."""

    async def write() -> None:
        database = await asyncpg.connect(harness.database_url)
        try:
            await database.executemany(
                INSERT,
                [
                    (e.id, e.type, e.subject, e.source, e.time, e.dataschema, destination, e.generation, e.data)
                    for e in events
                ],
            )
        finally:
            await database.close()

    run(write)


def dead_letters(harness: RelayHarness) -> list[Any]:
    """All dead letters, oldest first."""
    return harness.rows("SELECT * FROM outbox.dead_letters ORDER BY id")


def assert_dead_letter(dead_letter: Any, event: Event, queue: str = EVENT_EXCHANGE) -> None:
    """The dead letter is this event's, whole."""
    kept = (
        dead_letter["event_id"],
        dead_letter["type"],
        dead_letter["subject"],
        dead_letter["generation"],
        dead_letter["body"],
    )
    assert kept == (event.id, event.type, event.subject, event.generation, event.data)
    assert (dead_letter["queue"], dead_letter["reason"], dead_letter["state"]) == (queue, "unpublishable", "open")
    assert json.loads(dead_letter["headers"]) == encode_headers(event)


def test_an_event_too_large_for_the_broker_is_dead_lettered_and_all_others_arrive_in_order(
    strict: RelayHarness, tmp_path: Path
) -> None:
    events = numbered(500, subjects=50)
    events[250] = poison = replace(events[250], data=TOO_LARGE, generation=2)
    insert(strict, events)
    with relay(strict.database_url, strict.amqp_url, tmp_path) as process:
        strict.wait_for_cursor(500)
        reported = process.wait_for("event_dead_lettered")
        assert (reported["event_id"], reported["to"]) == (str(poison.id), EVENT_EXCHANGE)
        assert not process.logged("session_ended")
    (dead_letter,) = dead_letters(strict)
    assert_dead_letter(dead_letter, poison)
    assert f"max size {LARGEST}" in dead_letter["error"], dead_letter["error"]  # the broker's own words
    assert_all_there_in_order([event for event in events if event is not poison], strict.take("validation"))


def test_events_too_large_for_the_broker_are_found_wherever_they_lie(strict: RelayHarness, tmp_path: Path) -> None:
    layouts = {  # events, those too large; pages of 20
        "alone": (1, [0]),
        "alone, twice": (2, [0, 1]),
        "neighbours": (20, [10, 11]),
        "the first and the last of a page": (20, [0, 19]),
        "of one subject, with others between and behind": (20, [0, 5, 10]),
        "in different pages": (60, [7, 33, 58]),
        "a whole page": (30, list(range(20))),
    }
    sent: list[Event] = []
    poisons: list[Event] = []
    with relay(strict.database_url, strict.amqp_url, tmp_path, page_size=20, window=50) as process:
        process.wait_for("leading")
        for number, (count, too_large) in enumerate(layouts.values()):
            events = [new_event(f"{number}-{n % 5}") for n in range(count)]
            for n in too_large:
                events[n] = replace(events[n], data=TOO_LARGE)
            insert(strict, events)
            sent += events
            poisons += [events[n] for n in too_large]
            strict.wait_for_cursor(len(sent))
            assert {dead_letter["event_id"] for dead_letter in dead_letters(strict)} == {event.id for event in poisons}
        assert not process.logged("session_ended")
    assert len(dead_letters(strict)) == len(poisons)
    dead_lettered = {event.id for event in poisons}
    assert_all_there_in_order([event for event in sent if event.id not in dead_lettered], strict.take("validation"))


def test_events_that_no_frame_can_carry_are_dead_lettered_at_once(harness: RelayHarness, tmp_path: Path) -> None:
    events = numbered(30, subjects=3)
    # A routing key has 255 bytes at most, and all headers together have one frame.
    typed, sourced = new_event("order-1", type="x" * 300), new_event("order-1", source="x" * 300_000)
    addressed, nowhere = new_event("order-1"), "ü" * 128
    insert(harness, [*events[:10], typed, sourced, *events[10:20]])
    insert(harness, [addressed], nowhere)
    insert(harness, events[20:])
    with relay(harness.database_url, harness.amqp_url, tmp_path) as process:
        harness.wait_for_cursor(33)
        assert not process.logged("channel_closed_by_an_event")
        assert not process.logged("session_ended")
    found = {dead_letter["event_id"]: dead_letter for dead_letter in dead_letters(harness)}
    assert len(found) == 3
    assert_dead_letter(found[typed.id], typed)
    assert_dead_letter(found[sourced.id], sourced)
    assert_dead_letter(found[addressed.id], addressed, nowhere)
    assert_all_there_in_order(events, harness.take("validation"))


def test_an_event_addressed_to_a_queue_that_is_neither_required_nor_there_is_dead_lettered(
    harness: RelayHarness, tmp_path: Path
) -> None:
    events = numbered(30, subjects=3)
    lost = [new_event("order-1"), new_event("order-1"), new_event("order-2")]
    harness.record(events[:15])
    harness.record(lost, "test.nowhere")
    harness.record(events[15:])
    with relay(harness.database_url, harness.amqp_url, tmp_path) as process:
        harness.wait_for_cursor(33)
        process.wait_for("event_dead_lettered", 3)
    found = {dead_letter["event_id"]: dead_letter for dead_letter in dead_letters(harness)}
    assert found.keys() == {event.id for event in lost}
    for event in lost:
        assert_dead_letter(found[event.id], event, "test.nowhere")
        assert "test.nowhere" in found[event.id]["error"]
    assert_all_there_in_order(events, harness.take("validation"))


def test_an_event_addressed_to_a_required_queue_that_is_not_there_waits_for_it(
    harness: RelayHarness, tmp_path: Path
) -> None:
    with relay(harness.database_url, harness.amqp_url, tmp_path) as process:
        process.wait_for("leading")
        harness.record([new_event("warm-up", type="order.unheard_of")])
        harness.wait_for_cursor(1)
        harness.delete_queue("sap")
        unsettled = numbered(4, subjects=2)
        harness.record(unsettled, "sap")
        process.wait_for("required_queues_missing")
        assert harness.confirmed() == 1
        harness.declare()
        harness.wait_for_cursor(5)
    assert dead_letters(harness) == []
    assert_all_there_in_order(unsettled, harness.take("sap"))


def test_a_relay_killed_between_the_dead_letter_and_the_cursor_leaves_one_dead_letter(
    strict: RelayHarness, tmp_path: Path
) -> None:
    poison, stuck, other = new_event("a", data=TOO_LARGE), new_event("b"), new_event("c")
    with connection(strict.amqp_url) as link:
        arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
        link.channel().queue_declare("test.full", durable=True, auto_delete=False, arguments=arguments)
    try:
        strict.record([new_event("filling")], "test.full")
        with relay(strict.database_url, strict.amqp_url, tmp_path, lease_seconds=1) as process:
            strict.wait_for_cursor(1)
            insert(strict, [stuck], "test.full")
            insert(strict, [poison, other])
            first = process.wait_for("event_dead_lettered")
            strict.take_until("validation", 1)
            assert strict.confirmed() == 1
            process.kill()
        with relay(strict.database_url, strict.amqp_url, tmp_path) as process:
            assert process.wait_for("event_dead_lettered")["dead_letter"] == first["dead_letter"]
            strict.take_until("test.full", 2)
            strict.wait_for_cursor(4)
        assert ids(strict.take("test.full"))[1:] == [str(stuck.id)]
    finally:
        strict.delete_queue("test.full")
    (dead_letter,) = dead_letters(strict)
    assert_dead_letter(dead_letter, poison)
    (alert,) = strict.rows("SELECT queue, fingerprint, dead_letters, dead_letter_id FROM outbox.dead_letter_alerts")
    assert tuple(alert) == (EVENT_EXCHANGE, "relay:unpublishable", 1, dead_letter["id"])  # one alert, found twice
