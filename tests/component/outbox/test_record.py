"""The only writer of events: many by one statement, in order, with the change or not at all."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from outbox.envelope import MAX_DATA_BYTES, EnvelopeError
from outbox.record import EventTooLargeError, insert_from, parameters, record
from tests.support.builders.events import new_event
from tests.support.probes.database import connected, engine_of


def statements_of(engine: AsyncEngine) -> list[str]:
    """What the engine executes from now on."""
    seen: list[str] = []

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def note(*args: Any) -> None:
        seen.append(args[2])

    return seen


async def test_many_events_are_one_insert_in_the_order_given(shared_database_url: str) -> None:
    events = [new_event(f"order-{number % 7}", data=b"%d" % number) for number in range(200)]
    events.sort(key=lambda event: event.id.int ^ 0x5555)  # any order but that of the ids
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (observer,):
        seen = statements_of(engine)
        async with engine.begin() as tx:
            await record(tx, events)
        assert len([statement for statement in seen if "INSERT INTO outbox.events" in statement]) == 1
        stored = await observer.fetch("SELECT event_id FROM outbox.events ORDER BY id")
        assert [row["event_id"] for row in stored] == [event.id for event in events]


async def test_each_attribute_is_stored_as_it_is(shared_database_url: str) -> None:
    full = new_event(traceparent="00-a-b-01", generation=3, data=b"\x00\xff", subject="Größe")
    bare = new_event(dataschema=None)
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (observer,):
        async with engine.begin() as tx:
            await record(tx, [full, bare])
        rows = await observer.fetch("SELECT * FROM outbox.events ORDER BY id")
    for sent, row in zip([full, bare], rows, strict=True):
        assert {
            "id": row["event_id"],
            **{name: row[name] for name in sent.__slots__ if name != "id"},
        } == {name: getattr(sent, name) for name in sent.__slots__}
        assert row["destination"] is None


async def test_events_for_one_queue_carry_it_as_their_destination(shared_database_url: str) -> None:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (observer,):
        async with engine.begin() as tx:
            await record(tx, [new_event(), new_event()], "sap")
        rows = await observer.fetch("SELECT destination FROM outbox.events")
        assert [row["destination"] for row in rows] == ["sap", "sap"]


async def test_recording_nothing_writes_nothing(shared_database_url: str) -> None:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (observer,):
        async with engine.begin() as tx:
            await record(tx, [])
        assert await observer.fetchval("SELECT count(*) FROM outbox.events") == 0


async def test_one_event_too_large_refuses_them_all_and_names_it(shared_database_url: str) -> None:
    large = new_event("order-9", data=b"x" * (MAX_DATA_BYTES + 1))
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (observer,):
        async with engine.begin() as tx:
            with pytest.raises(EventTooLargeError) as refusal:
                await record(tx, [new_event(), large])
        assert str(refusal.value) == (
            f"event order.placed {large.id} of order-9: data of {MAX_DATA_BYTES + 1} bytes is over the limit "
            f"of {MAX_DATA_BYTES}"
        )
        assert await observer.fetchval("SELECT count(*) FROM outbox.events") == 0
    with pytest.raises(EventTooLargeError):
        parameters(large)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"type": "x" * 300}, "type"), ({"type": "Order Placed"}, "type"), ({"subject": ""}, "subject")],
)
async def test_an_event_that_no_consumer_could_read_is_refused_and_the_attribute_named(
    shared_database_url: str, change: dict[str, str], named: str
) -> None:
    unreadable = replace(new_event("order-9"), **change)  # type: ignore[arg-type]
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (observer,):
        async with engine.begin() as tx:
            with pytest.raises(EnvelopeError, match=named):
                await record(tx, [new_event(), unreadable])
        assert await observer.fetchval("SELECT count(*) FROM outbox.events") == 0


async def test_data_at_the_limit_is_recorded(shared_database_url: str) -> None:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (observer,):
        async with engine.begin() as tx:
            await record(tx, [new_event(data=b"x" * MAX_DATA_BYTES)])
        assert await observer.fetchval("SELECT length(data) FROM outbox.events") == MAX_DATA_BYTES


async def test_a_change_that_is_rolled_back_takes_its_event_with_it(shared_database_url: str) -> None:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (observer,):
        async with engine.connect() as tx:
            await record(tx, [new_event()])
            await tx.rollback()
        assert await observer.fetchval("SELECT count(*) FROM outbox.events") == 0


async def test_the_fragment_composes_into_a_statement_that_locks_its_own_row(shared_database_url: str) -> None:
    composed = text(f"""
            WITH locked AS (UPDATE products SET available = available - 1 WHERE sku = :sku RETURNING sku, available),
            event AS ({insert_from("locked", data="convert_to(sku || '=' || available, 'UTF8')")})
            SELECT count(*) FROM locked""")
    recorded = new_event("product-1")
    values = {name: value for name, value in parameters(recorded).items() if name != "event_data"}
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (observer,):
        await observer.execute("INSERT INTO products (sku, name, available) VALUES ('A', 'a', 5)")
        async with engine.begin() as tx:
            assert (await tx.execute(composed, {"sku": "A", **values})).scalar_one() == 1
            assert (await tx.execute(composed, {"sku": "unknown", **values})).scalar_one() == 0
        row = await observer.fetchrow("SELECT event_id, subject, data FROM outbox.events")
        assert row is not None
        assert tuple(row) == (recorded.id, "product-1", b"A=4")
