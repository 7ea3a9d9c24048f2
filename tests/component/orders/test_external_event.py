"""An event of another service is delivered, done once, dead-lettered and replayed like one of ours."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from consumers.collector.classify import dead_letter_of, inspect
from consumers.collector.queues import Taken
from consumers.delivery.message_check import read
from consumers.topology import bindings
from consumers.worker.cloud_event_task import adapt
from orders import workflow
from orders.events import EXTERNAL_EVENTS, EventDataError, ExternalEvent, parse_order_id
from orders.workflow import BY_QUEUE, STEPS
from outbox import inbox
from outbox.dead_letters import replay, store
from outbox.dead_letters.queries import Selection
from outbox.envelope import PREFIX, EnvelopeError, Event, decode
from outbox.inbox import Claim, Refusal, Refused
from tests.support.probes.database import connected, engine_of

PAYMENT = ExternalEvent(
    "payment.captured", "https://payments.example/", "https://payments.example/captured/v2", "purchase"
)
ORDER_ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
BODY = json.dumps({"purchase": str(ORDER_ID), "amount": "12.00"}).encode()
QUEUE = "analytics"


@pytest.fixture(autouse=True)
def listening(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that names another service's event in its row of the table."""
    step = replace(BY_QUEUE[QUEUE], listens_to=(*BY_QUEUE[QUEUE].listens_to, PAYMENT.type))
    monkeypatch.setitem(EXTERNAL_EVENTS, PAYMENT.type, PAYMENT)
    monkeypatch.setitem(BY_QUEUE, QUEUE, step)
    monkeypatch.setattr(workflow, "STEPS", tuple(step if one.queue == QUEUE else one for one in STEPS))


def headers(**changes: str) -> dict[str, Any]:
    """Its attributes as the other service writes them: an id of its own, no subject."""
    attributes = {
        "specversion": "1.0",
        "id": "ch_3MqLiJ/42",
        "type": PAYMENT.type,
        "source": PAYMENT.source,
        "time": datetime.now(UTC).isoformat(),
        "dataschema": PAYMENT.dataschema,
        **changes,
    }
    return {PREFIX + name: value for name, value in attributes.items()}


def delivered(given: dict[str, Any], body: bytes = BODY) -> Event:
    """The event that the worker's child decodes from the task that the intake made of a message."""
    message: Any = SimpleNamespace(headers=dict(given), body=body, properties={}, delivery_info={}, _decoded_cache=None)
    adapt(message, QUEUE)
    (attributes, text, _), _, _ = json.loads(message.body)
    return decode(attributes, text.encode())


def test_its_queue_is_bound_to_its_type() -> None:
    from consumers import topology

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topology, "STEPS", workflow.STEPS)
        assert (QUEUE, PAYMENT.type) in {(queue.name, key) for queue, _, key in bindings("orders.events")}


def test_it_is_delivered_with_an_inbox_id_and_its_order_as_the_subject() -> None:
    given = headers()
    event = delivered(given)
    assert (event.id.version, event.subject, event.source) == (7, str(ORDER_ID), PAYMENT.source)
    assert delivered(given) == event
    assert parse_order_id(event.type, event.data) == ORDER_ID


@pytest.mark.parametrize(
    ("change", "reported"),
    [({"source": "https://else.example/"}, "source"), ({"dataschema": "v1"}, "dataschema"), ({"time": "noon"}, "time")],
)
def test_one_of_another_source_schema_or_time_is_refused(change: dict[str, str], reported: str) -> None:
    with pytest.raises(EnvelopeError, match=reported):
        delivered(headers(**change))


def test_one_that_names_no_order_is_refused() -> None:
    with pytest.raises(EventDataError, match="lacks purchase"):
        delivered(headers(), b"{}")


async def test_it_is_done_once_and_a_duplicate_is_acknowledged(shared_database_url: str) -> None:
    given = headers()
    async with engine_of(shared_database_url) as engine, engine.begin() as tx:
        assert isinstance(await inbox.finish_at_once(tx, QUEUE, delivered(given)), Claim)
        assert await inbox.finish_at_once(tx, QUEUE, delivered(given)) == Refused(Refusal.DUPLICATE)
        assert isinstance(await inbox.finish_at_once(tx, QUEUE, delivered(headers(id="ch_2"))), Claim)


async def test_its_dead_letter_is_replayed_under_the_same_inbox_id(shared_database_url: str) -> None:
    given = headers()
    dead = dead_letter_of(inspect(Taken(QUEUE, 1, BODY, given, {}, b"raw")), None, None)
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (observer,):
        async with engine.begin() as tx:
            await store.store(tx, [dead])
        async with engine.begin() as tx:
            batch = await replay.replay(tx, Selection(), replay.Act("me", "mended"), "orders.events")
        row = await observer.fetchrow(
            "SELECT event_id, subject, source, dataschema, generation, destination FROM outbox.events"
        )
    assert batch.refused == ()
    assert row is not None
    assert dict(row) == {
        "event_id": delivered(given).id,
        "subject": str(ORDER_ID),
        "source": PAYMENT.source,
        "dataschema": PAYMENT.dataschema,
        "generation": 2,
        "destination": QUEUE,
    }
    ((sending,)) = batch.sendings
    again = {PREFIX + "id": str(row["event_id"]), PREFIX + "generation": 2, PREFIX + "subject": row["subject"]}
    assert read({**given, **again}, BODY, QUEUE) == sending.event
