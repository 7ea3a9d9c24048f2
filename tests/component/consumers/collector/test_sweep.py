"""Every dead message becomes one dead letter, whole, with its recorded cause."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pika
import pytest

from consumers.collector import sweep as collecting
from consumers.topology import DELIVERY_LIMIT
from outbox.dead_letters.amqp_json import from_json
from outbox.dead_letters.queries import WholeDeadLetter
from outbox.envelope import encode_headers, new_event_id
from tests.support.builders.invalid_messages import HALF_VALID, NO_EVENTS, UNREADABLE, WRONG_DATA
from tests.support.probes.broker_queues import Raw, write_raw_values
from tests.support.probes.collector_harness import ORDER, CollectorHarness, reserved


def facts(whole: WholeDeadLetter) -> tuple[str, str | None, str | None, UUID | None]:
    dead_letter = whole.dead_letter
    return dead_letter.reason, dead_letter.fingerprint, dead_letter.error_class, dead_letter.event_id


def test_a_step_that_dead_letters_says_why_in_its_dead_letter(collector_harness: CollectorHarness) -> None:
    event = reserved(generation=3)
    cause = {
        "reason": "retries_exhausted",
        "error_class": "SapError",
        "error": "no answer",
        "error_trace": "Traceback: …",
        "fingerprint": "SapError@consumers.adapters.sap:create",
    }
    collector_harness.in_database(lambda database: database.delivery(event, "dead", **cause))
    before = datetime.now(UTC).replace(microsecond=0)
    collector_harness.die_event("sap", event)
    (found,) = collector_harness.collect(1)
    dead_letter = found.dead_letter
    assert (dead_letter.queue, dead_letter.event_id, dead_letter.type, dead_letter.subject, dead_letter.generation) == (
        "sap", event.id, event.type, ORDER, 3
    )  # fmt: skip
    assert {name: getattr(dead_letter, name) for name in cause if name != "error_trace"} == {
        name: reported for name, reported in cause.items() if name != "error_trace"
    }
    assert found.error_trace == cause["error_trace"]
    assert found.body == event.data
    assert encode_headers(event).items() <= from_json(found.headers).items()
    assert dead_letter.died_at is not None
    assert before <= dead_letter.died_at <= datetime.now(UTC)
    assert collector_harness.queues.depth("sap.dlq") == 0


def test_the_cause_of_another_generation_is_not_the_cause_of_this_one(collector_harness: CollectorHarness) -> None:
    event = reserved(generation=2)
    collector_harness.in_database(
        lambda database: database.delivery(replace(event, generation=3), "dead", error="another")
    )
    collector_harness.die_event("sap", event)
    (found,) = collector_harness.collect(1)
    assert facts(found) == ("rejected", "rejected@sap", None, event.id)
    assert "step_broke" in str(found.dead_letter.error)


def test_a_message_that_the_broker_dead_lettered_says_so(collector_harness: CollectorHarness) -> None:
    often, late = reserved(), reserved()
    collector_harness.queues.publish_event("sap", often)
    for _ in range(DELIVERY_LIMIT + 1):
        collector_harness.reject("sap", requeue=True)
    collector_harness.queues.wait_for("sap.dlq", 1)
    collector_harness.queues.publish_event("sap", late, expiration="1")
    collector_harness.queues.wait_for("sap.dlq", 2)
    by_event = {found.dead_letter.event_id: facts(found)[:2] for found in collector_harness.collect(2)}
    assert by_event == {
        often.id: ("delivery_limit", "delivery_limit@sap"),
        late.id: ("expired", "expired@sap"),
    }


def test_an_event_without_a_listener_is_kept(collector_harness: CollectorHarness) -> None:
    event = reserved(type="order.teleported", dataschema=None)
    exchange = collector_harness.settings.event_exchange
    given = pika.BasicProperties(headers=encode_headers(event), delivery_mode=2)
    collector_harness.queues.channel.basic_publish(exchange, event.type, event.data, given)
    (found,) = collector_harness.collect(1)
    assert facts(found) == ("unrouted", "unrouted", None, event.id)
    assert (found.dead_letter.queue, found.dead_letter.error) == ("unrouted", "no queue is bound for order.teleported")


def test_an_event_older_than_the_inbox_remembers_expired(
    collector_harness: CollectorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = reserved()

    async def all_forgotten(_: object) -> UUID:
        return UUID(int=event.id.int + 1)

    monkeypatch.setattr(collecting, "horizon", all_forgotten)
    collector_harness.die_event("sap", event)
    (found,) = collector_harness.collect(1)
    assert facts(found)[:2] == ("expired", "expired@sap")


def test_any_message_that_died_in_a_queue_is_stored_whole_and_holds_up_no_other(
    collector_harness: CollectorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_raw_values(monkeypatch)
    dead: list[bytes] = []

    def die(body: bytes, headers: Any, **properties: Any) -> None:
        # The body tells one from another: what is alike and dies in the same second is one dead letter.
        marked = body + b"#%d" % len(dead)
        dead.append(marked)
        collector_harness.die("validation", marked, headers, **properties)

    event = reserved(type="order.placed", dataschema=None)
    for headers, body, properties in NO_EVENTS.values():
        die(body, headers, **properties)
    for value in UNREADABLE.values():
        die(b"{}", {"when": value})
        die(event.data, encode_headers(event) | {"deep": {"er": [value]}})
    for attributes in HALF_VALID.values():
        changed = {f"cloudEvents:{name}": value for name, value in attributes.items()}
        headers = encode_headers(replace(event, id=new_event_id())) | changed
        die(event.data, {name: value for name, value in headers.items() if value is not None})
    for data in WRONG_DATA.values():
        die(data, encode_headers(replace(event, id=new_event_id())))
    found = collector_harness.collect(len(dead))
    assert sorted(whole.body for whole in found) == sorted(dead)
    assert {whole.dead_letter.reason for whole in found} == {"undecodable"}
    assert {whole.dead_letter.fingerprint for whole in found} == {
        "undecodable:EnvelopeError@validation",
        "undecodable:EventDataError@validation",
    }


def test_odd_headers_and_properties_come_back_as_they_were(
    collector_harness: CollectorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_raw_values(monkeypatch)
    when = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    odd = {
        "raw": b"\xff\x00",
        "price": Decimal("1.5"),
        "when": when,
        "cut": "a\x00b",
        "deep": {"er": [1, {"est": [None, True, -(2**40)]}]},
        "half": Raw(b"S" + (3).to_bytes(4) + b"\xed\xa0\x80"),
    }
    collector_harness.die("sap", b"x", odd, priority=7, correlation_id="c", message_id="m", timestamp=2**33)
    (found,) = collector_harness.collect(1)
    kept = from_json(found.headers)
    assert kept["raw"] in (b"\xff\x00", "\udcff\x00")  # py-amqp reads a long text where it can
    assert (kept["price"], kept["cut"], kept["deep"]) == (odd["price"], odd["cut"], odd["deep"])
    assert kept["when"] == when.replace(tzinfo=None)
    assert kept["half"] in ("\ud800", b"\xed\xa0\x80")
    assert found.properties["priority"] == 7
    assert (found.properties["correlation_id"], found.properties["message_id"]) == ("c", "m")


def test_unreadable_headers_are_kept_as_bytes(
    collector_harness: CollectorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_raw_values(monkeypatch)
    nested = Raw(b"t")
    for _ in range(5000):  # far deeper than any program's stack
        inner = nested.encoded if nested.encoded != b"t" else b"V"
        nested = Raw(b"A" + len(inner).to_bytes(4) + inner)
    collector_harness.die("sap", b"deep", {"deep": nested})
    collector_harness.die("sap", b"late", {"marked": "readable", "when": Raw(b"T" + (2**62).to_bytes(8))})
    found = {whole.body: whole for whole in collector_harness.collect(2)}
    assert set(found[b"late"].headers) == set(found[b"deep"].headers) == {"$raw"}
    with pytest.raises(ValueError, match="no tag"):
        from_json(found[b"deep"].headers)


def test_a_large_body_is_stored_byte_for_byte(collector_harness: CollectorHarness) -> None:
    body = bytes(range(256)) * 4096 * 20  # 20 MiB, more than a batch may hold together
    collector_harness.die("sap", body, {"a": 1})
    collector_harness.die("sap", b"small", {"a": 2})
    assert {found.body for found in collector_harness.collect(2)} == {body, b"small"}


def test_a_copy_of_a_message_is_the_same_dead_letter_and_another_death_is_another(
    collector_harness: CollectorHarness,
) -> None:
    event = reserved()
    collector_harness.die_event("sap", event)
    collector_harness.die_event("sap", event)
    collector_harness.queues.wait_for("sap.dlq", 2)
    collector_harness.die_event("email", event)
    assert len(collector_harness.collect(2)) == 2
    assert [collector_harness.queues.depth(f"{queue}.dlq") for queue in ("sap", "email")] == [0, 0]
