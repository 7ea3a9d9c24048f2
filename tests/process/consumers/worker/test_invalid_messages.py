"""Whatever is put into a queue, the worker lives: what is no event of ours ends in the dead-letter queue.

One real worker of the local pool for the whole module, on real quorum queues.
"""

import json
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from lab.stack.servers.obtain import ServerUrls
from orders.model import Status
from outbox.envelope import MAX_DATA_BYTES, Event, encode_headers, new_event_id
from runtime.settings import Settings
from tests.support.builders.invalid_messages import (
    HALF_VALID,
    NO_EVENTS,
    UNREADABLE,
    WRONG_DATA,
    Headers,
    raw_text,
    stock_task,
)
from tests.support.builders.step_harness import StepHarness, step_harness, with_step_harness
from tests.support.probes.broker_queues import Queues, write_raw_values
from tests.support.processes.worker import Worker, apply_topology, wait_until_it_consumes, worker
from tests.support.servers import broker_cleanup as broker

QUEUE, DLQ = "validation", "validation.dlq"


@dataclass(frozen=True)
class Site:
    """A running worker of the local pool with its queues."""

    settings: Settings
    queues: Queues
    worker: Worker
    main_pid: int

    def lives(self) -> bool:
        """Whether the main process is the one that was started, and never lost its connection."""
        return self.worker.process.poll() is None and not self.worker.count("onnection to broker lost")


@pytest.fixture(scope="module")
def running(servers: ServerUrls, steps_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("garbage")
    settings = Settings(
        database_url=steps_database_url,
        amqp_url=servers.amqp_url,
        documents_dir=folder,
        retry_base_seconds=0.001,
    )
    broker.clean(servers.amqp_url)
    apply_topology(settings)
    try:
        with Queues.of(servers.amqp_url) as queues, worker("local", settings, folder) as started:
            wait_until_it_consumes(started, queues, "local")
            yield Site(settings, queues, started, started.process.pid)
    finally:
        broker.clean(servers.amqp_url)


@pytest.fixture
def site(running: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    write_raw_values(monkeypatch)
    running.queues.purge(DLQ, QUEUE)
    yield running
    assert running.lives(), running.worker.log.read_text()[-4000:]


def _placed(site: Site) -> Event:
    """A sound `order.placed` of an order that waits to be validated."""

    async def place(harness: StepHarness) -> Event:
        return await harness.event(await harness.place_order(), "order.placed")

    return with_step_harness(site.settings, place)


def _status(site: Site, event: Event) -> Status:
    async def read(harness: StepHarness) -> Status:
        return (await harness.order(UUID(event.subject))).status

    return with_step_harness(site.settings, read)


def _wait_until_validated(site: Site, event: Event) -> None:
    site.worker.wait_until(lambda: _status(site, event) is Status.VALIDATED, "a validated order")


def _with(event: Event, **attributes: object) -> Headers:
    changed = {f"cloudEvents:{name}": value for name, value in attributes.items()}
    return {name: value for name, value in (encode_headers(event) | changed).items() if value is not None}


@pytest.mark.parametrize("name", NO_EVENTS)
def test_what_is_no_event_ends_in_the_dead_letter_queue(site: Site, name: str) -> None:
    headers, body, properties = NO_EVENTS[name]
    site.queues.publish(QUEUE, body, headers, **properties)
    site.queues.wait_for(DLQ, 1)
    given, kept = site.queues.take(DLQ)
    assert kept == body
    assert given.headers["x-first-death-reason"] == "rejected"


@pytest.mark.parametrize("name", UNREADABLE)
def test_headers_that_cannot_be_read_end_in_the_dead_letter_queue(site: Site, name: str) -> None:
    for headers in ({"when": UNREADABLE[name]}, {"deep": {"er": [UNREADABLE[name]]}}):
        site.queues.publish(QUEUE, b"{}", headers)
    event = _placed(site)
    site.queues.publish(QUEUE, event.data, encode_headers(event) | {"when": UNREADABLE[name]})
    site.queues.wait_for(DLQ, 3)
    assert _status(site, event) is Status.PENDING


@pytest.mark.parametrize("name", HALF_VALID)
def test_an_event_with_a_wrong_attribute_ends_in_the_dead_letter_queue(site: Site, name: str) -> None:
    event = replace(_sample(), id=new_event_id())
    refused = site.worker.count("message_refused")
    site.queues.publish(QUEUE, event.data, _with(event, **HALF_VALID[name]))
    site.queues.wait_for(DLQ, 1)
    site.worker.wait_for_line("message_refused", refused + 1)
    assert site.queues.take(DLQ)[1] == event.data


@pytest.mark.parametrize("name", WRONG_DATA)
async def test_data_that_is_not_the_types_ends_in_the_dead_letter_queue(site: Site, name: str) -> None:
    event = replace(_sample(), id=new_event_id(), data=WRONG_DATA[name])
    before = site.worker.log.read_text().count("EventDataError")
    site.queues.publish_event(QUEUE, event)
    site.queues.wait_for(DLQ, 1)
    assert site.queues.take(DLQ)[1] == event.data
    site.worker.wait_until(lambda: site.worker.log.read_text().count("EventDataError") > before, "EventDataError")

    async def untouched(harness: StepHarness) -> bool:
        return await harness.delivery(QUEUE, event) is None

    async with step_harness(site.settings) as harness:
        assert await untouched(harness)


def test_a_subject_that_postgres_could_not_keep_ends_in_the_dead_letter_queue(site: Site) -> None:
    """Postgres takes no lone surrogate: neither the effect nor its failure could be written."""
    event = replace(_sample(), id=new_event_id())
    refused = site.worker.count("message_refused")
    site.queues.publish(QUEUE, event.data, _with(event, subject=raw_text(b"x\xed\xa0\x80")))
    site.queues.wait_for(DLQ, 1)
    site.worker.wait_for_line("message_refused", refused + 1)
    assert site.queues.take(DLQ)[1] == event.data


def test_a_body_over_a_mebibyte_ends_in_the_dead_letter_queue(site: Site) -> None:
    event = replace(_sample(), id=new_event_id(), data=b" " * (MAX_DATA_BYTES + 1))
    refused = site.worker.count("message_refused")
    site.queues.publish_event(QUEUE, event)
    site.queues.wait_for(DLQ, 1)
    site.worker.wait_for_line("message_refused", refused + 1)
    assert len(site.queues.take(DLQ)[1]) == MAX_DATA_BYTES + 1


async def test_an_event_of_an_unknown_order_ends_there_at_once(site: Site) -> None:
    order_id = new_event_id()
    data = json.loads(_sample().data) | {"order_id": str(order_id)}
    event = replace(_sample(), id=new_event_id(), subject=str(order_id), data=json.dumps(data).encode())
    site.queues.publish_event(QUEUE, event)
    site.queues.wait_for(DLQ, 1)
    assert site.queues.take(DLQ)[1] == event.data

    async def row(harness: StepHarness) -> tuple[str, str, str]:
        kept = await harness.inbox_row(QUEUE, event)
        return kept["state"], kept["reason"], kept["error"]

    async with step_harness(site.settings) as harness:
        assert await row(harness) == ("dead", "rejected", f"order {order_id} does not exist")


HARMLESS: dict[str, tuple[Headers, dict[str, Any]]] = {
    "as the relay sends it": ({}, {}),
    "calling itself another task": (stock_task("celery.backend_cleanup", timelimit=7, retries="many", eta="never"), {}),
    "calling itself an unhashable task": ({"task": {"a": []}, "id": []}, {}),
    "with a wrong content type": (
        {},
        {"content_type": "application/x-python-serialize", "content_encoding": "klingon"},
    ),
    "with a priority, an expiry and a reply_to": ({}, {"priority": 9, "expiration": "60000", "reply_to": "nowhere"}),
    "that was redelivered often": ({"x-delivery-count": 19, "x-acquired-count": "x"}, {}),
    "with a generation far ahead": ({"cloudEvents:generation": 32_767}, {}),
    "without its schema": ({"cloudEvents:dataschema": None}, {}),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_sound_event_runs_with_any_other_headers_and_properties(site: Site, name: str) -> None:
    headers, properties = HARMLESS[name]
    event = _placed(site)
    given = {key: value for key, value in (encode_headers(event) | headers).items() if value is not None}
    site.queues.publish(QUEUE, event.data, given, **properties)
    _wait_until_validated(site, event)
    assert site.queues.depth(DLQ) == 0


def test_a_compressed_event_runs(site: Site) -> None:
    event = _placed(site)
    site.queues.publish(QUEUE, zlib.compress(event.data), encode_headers(event) | {"compression": "zlib"})
    _wait_until_validated(site, event)
    assert site.queues.depth(DLQ) == 0


def test_a_thousand_pieces_of_garbage_do_not_stop_the_sound_events_between_them(site: Site) -> None:
    rng = random.Random(7)
    children = set(site.worker.children())

    async def place(harness: StepHarness) -> list[Event]:
        return [await harness.event(await harness.place_order(), "order.placed") for _ in range(10)]

    sound = with_step_harness(site.settings, place)
    for event in sound:
        for _ in range(100):
            headers, body, properties = _piece(rng)
            site.queues.publish(QUEUE, body, headers, **properties)
        site.queues.publish_event(QUEUE, event)
    site.queues.wait_for(DLQ, 1000)
    for event in sound:
        _wait_until_validated(site, event)
    assert site.queues.depth(DLQ) == 1000
    assert set(site.worker.children()) == children
    assert site.worker.process.pid == site.main_pid


def _piece(rng: random.Random) -> tuple[Headers | None, bytes, dict[str, Any]]:
    kind = rng.randrange(3)
    event = replace(_sample(), id=new_event_id())
    if kind == 0:
        return rng.choice(list(NO_EVENTS.values()))
    if kind == 1:
        return _with(event, **rng.choice(list(HALF_VALID.values()))), event.data, {}
    return encode_headers(event), rng.choice(list(WRONG_DATA.values())), {}


def _sample() -> Event:
    order_id = "0190163d-8694-739b-aea5-966c26f8ad91"
    fields = {"order_id": order_id, "number": "WB-1", "reference": "r", "currency": "USD", "net_total": "1.00"}
    return Event(
        id=new_event_id(),
        type="order.placed",
        subject=order_id,
        source="urn:waybill:orders",
        time=datetime.now(UTC),
        data=json.dumps(fields).encode(),
        dataschema="urn:waybill:order.placed:1",
    )
