"""Placing an order: order, lines and event are one statement, and a reference is taken once."""

import asyncio
import json
from dataclasses import replace
from decimal import Decimal
from uuid import uuid4

import pytest
from sqlalchemy.exc import DBAPIError

from orders import repository, workflow
from orders.events import parse_order_id
from orders.model import Line, Order, Status
from orders.repository import UnexpectedStatusError
from orders.service import Placed, ReferenceTaken, place
from orders.workflow import STEPS, Step, joined_steps
from outbox.envelope import MAX_DATA_BYTES
from outbox.record import EventTooLargeError
from runtime.database import autocommit
from tests.support.builders.order_rows import counts
from tests.support.builders.orders import HOSTILE_NAMES, NAMES, new_order, sample_order
from tests.support.probes.database import connected, engine_of, pid_of, waits_for_a_lock
from tests.support.proxies.postgres_wire_counter import counted_statements

SOURCE = "urn:waybill:tests"


async def test_an_order_is_one_statement_and_no_transaction_around_it(shared_database_url: str) -> None:
    async with counted_statements(shared_database_url) as counter, engine_of(counter.url) as engine:  # noqa: SIM117 - reads better
        async with autocommit(engine).connect() as tx:
            await place(tx, new_order("warm-up"), SOURCE)  # the driver learns its types once per connection
            await place(tx, new_order("warm-up-2"), SOURCE)
            counter.sent.clear()
            assert isinstance(await place(tx, new_order("counted"), SOURCE), Placed)
            assert counter.statements == 1
    async with connected(shared_database_url) as (observer,):
        assert await counts(observer) == (3, 6, 3)


async def test_an_order_of_a_thousand_lines_is_one_statement_too(shared_database_url: str) -> None:
    lines = tuple(Line(f"SKU-{number % 300}", 1 + number, Decimal("1.99")) for number in range(1000))
    async with counted_statements(shared_database_url) as counter, engine_of(counter.url) as engine:  # noqa: SIM117 - reads better
        async with autocommit(engine).connect() as tx:
            await place(tx, new_order("warm-up"), SOURCE)
            counter.sent.clear()
            placed = await place(tx, new_order("large", lines=lines), SOURCE)
            assert counter.statements == 1
            assert isinstance(placed, Placed)
            stored = await repository.get(tx, placed.order_id)
    assert stored is not None
    assert stored.lines == lines


@pytest.mark.parametrize("name", [*NAMES, *HOSTILE_NAMES])
async def test_an_order_comes_back_as_it_was_placed(shared_database_url: str, name: str) -> None:
    customer = replace(sample_order().customer, name=name)
    order = new_order(customer=customer)
    async with engine_of(shared_database_url) as engine, engine.begin() as tx:
        placed = await place(tx, order, SOURCE)
        assert isinstance(placed, Placed)
        stored = await repository.get(tx, placed.order_id)
    assert isinstance(stored, Order)
    assert (stored.id, stored.number, stored.status) == (placed.order_id, placed.number, Status.PENDING)
    assert (stored.reference, stored.customer, stored.currency) == (order.reference, customer, order.currency)
    assert stored.lines == order.lines
    assert stored.net_total == order.net_total == Decimal("1234.50")


async def test_the_event_says_the_orders_number_and_total_and_its_subject_is_the_order(
    shared_database_url: str,
) -> None:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (observer,):
        async with engine.begin() as tx:
            placed = await place(tx, new_order('PO "ß" \\ 1'), SOURCE)
        row = await observer.fetchrow("SELECT * FROM outbox.events")
        owed = await observer.fetchrow("SELECT open_joins, leaf_steps FROM orders")
    assert isinstance(placed, Placed)
    assert row is not None
    assert (row["type"], row["subject"], row["source"], row["destination"], row["generation"]) == (
        "order.placed",
        str(placed.order_id),
        SOURCE,
        None,
        1,
    )
    assert json.loads(row["data"]) == {
        "order_id": str(placed.order_id),
        "number": placed.number,
        "reference": 'PO "ß" \\ 1',
        "currency": "USD",
        "net_total": "1234.50",
    }
    assert row["dataschema"] == "urn:waybill:order.placed:1"
    assert parse_order_id(row["type"], row["data"]) == placed.order_id
    assert owed is not None
    assert (owed["open_joins"], owed["leaf_steps"]) == (list(joined_steps()), [])


async def test_a_reference_that_is_taken_makes_neither_order_nor_lines_nor_event(shared_database_url: str) -> None:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (observer,):  # noqa: SIM117
        async with autocommit(engine).connect() as tx:
            first = await place(tx, new_order(), SOURCE)
            assert isinstance(first, Placed)
            before = await counts(observer)
            again = await place(tx, new_order(currency="EUR"), SOURCE)
            assert again == ReferenceTaken(first.order_id)
            assert await counts(observer) == before == (1, 2, 1)


async def test_of_two_placings_of_one_reference_at_once_one_is_placed_and_the_other_learns_of_it(
    shared_database_url: str,
) -> None:
    async with (
        engine_of(shared_database_url) as engine,
        connected(shared_database_url) as (observer,),
        engine.connect() as one,
        engine.connect() as two,
    ):
        first = await place(one, new_order(), SOURCE)
        pid = await pid_of(two)
        waiting = asyncio.create_task(place(two, new_order(), SOURCE))
        await waits_for_a_lock(observer, pid)
        await one.commit()
        assert isinstance(first, Placed)
        assert await waiting == ReferenceTaken(first.order_id)
        await two.commit()
        assert await counts(observer) == (1, 2, 1)


async def test_of_many_placings_of_one_reference_in_a_crowd_exactly_one_is_placed(shared_database_url: str) -> None:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (observer,):

        async def attempt() -> Placed | ReferenceTaken:
            async with autocommit(engine).connect() as tx:
                return await place(tx, new_order(), SOURCE)

        outcomes = await asyncio.gather(*(attempt() for _ in range(20)))
        placed = [outcome for outcome in outcomes if isinstance(outcome, Placed)]
        assert len(placed) == 1
        assert {outcome.order_id for outcome in outcomes} == {placed[0].order_id}
        assert await counts(observer) == (1, 2, 1)


async def test_a_placing_whose_rival_is_rolled_back_is_placed(shared_database_url: str) -> None:
    async with (
        engine_of(shared_database_url) as engine,
        connected(shared_database_url) as (observer,),
        engine.connect() as one,
        engine.connect() as two,
    ):
        await place(one, new_order(), SOURCE)
        pid = await pid_of(two)
        waiting = asyncio.create_task(place(two, new_order(), SOURCE))
        await waits_for_a_lock(observer, pid)
        await one.rollback()
        assert isinstance(await waiting, Placed)
        await two.commit()
        assert await counts(observer) == (1, 2, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"currency": "usd"},
        {"reference": "x" * 101},
        {"lines": (Line("A", 0, Decimal(1)),)},
        {"lines": (Line("A", 1, Decimal(-1)),)},
        {"lines": (Line("A", 1, Decimal(1), Decimal(1)),)},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_an_order_that_the_schema_refuses_leaves_nothing(
    shared_database_url: str, changes: dict[str, object]
) -> None:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (observer,):
        async with autocommit(engine).connect() as tx:
            with pytest.raises(DBAPIError, match="check constraint"):
                await place(tx, replace(new_order(), **changes), SOURCE)  # type: ignore[arg-type]
        assert await counts(observer) == (0, 0, 0)


async def test_an_event_too_large_refuses_the_order(shared_database_url: str) -> None:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (observer,):
        async with autocommit(engine).connect() as tx:
            with pytest.raises(EventTooLargeError):
                await place(tx, new_order("x" * MAX_DATA_BYTES), SOURCE)
        assert await counts(observer) == (0, 0, 0)


async def test_an_order_moves_only_from_the_status_it_is_in(shared_database_url: str) -> None:
    async with engine_of(shared_database_url) as engine, engine.begin() as tx:
        placed = await place(tx, new_order(), SOURCE)
        await repository.advance(tx, placed.order_id, Status.PENDING, Status.VALIDATED)
        with pytest.raises(UnexpectedStatusError, match="is not pending, so it cannot become validated"):
            await repository.advance(tx, placed.order_id, Status.PENDING, Status.VALIDATED)
        with pytest.raises(UnexpectedStatusError, match="is not pending, so it cannot be rejected"):
            await repository.reject(tx, placed.order_id, Status.PENDING, [])
        with pytest.raises(UnexpectedStatusError):
            await repository.advance(tx, uuid4(), Status.PENDING, Status.VALIDATED)
        stored = await repository.get(tx, placed.order_id)
        assert stored is not None
        assert stored.status is Status.VALIDATED


async def test_one_of_the_joined_steps_that_commit_at_once_is_the_last(shared_database_url: str) -> None:
    async with engine_of(shared_database_url) as engine:
        async with engine.begin() as tx:
            placed = await place(tx, new_order(), SOURCE)

        async def done(step: str) -> bool:
            async with engine.begin() as tx:
                return await repository.clear_join(tx, placed.order_id, step)

        assert sorted(await asyncio.gather(*map(done, joined_steps()))) == [False, False, True]
        assert [await done(step) for step in joined_steps()] == [False, False, False]


async def test_two_joined_steps_that_commit_at_once_see_each_other(shared_database_url: str) -> None:
    first, second, third = joined_steps()
    async with engine_of(shared_database_url) as engine:
        async with engine.begin() as tx:
            placed = await place(tx, new_order(), SOURCE)
            assert not await repository.clear_join(tx, placed.order_id, first)

        async def done(step: str) -> bool:
            async with engine.begin() as tx:
                return await repository.clear_join(tx, placed.order_id, step)

        async with engine.begin() as tx:
            assert not await repository.clear_join(tx, placed.order_id, second)
            waiting = asyncio.create_task(done(third))
            await asyncio.wait([waiting], timeout=0.2)
            assert not waiting.done()  # it holds a snapshot in which `second` is open, and waits for the row
        assert await waiting


LATER = Step("notify_warehouse", "warehouse", ("order.synced",), ("order.fulfilled",), "local", 30, 900)


async def test_an_order_placed_before_a_step_joined_completes_without_it(
    shared_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine_of(shared_database_url) as engine, engine.begin() as tx:
        before = await place(tx, new_order(), SOURCE)
        owed = joined_steps()
        monkeypatch.setattr(workflow, "STEPS", (*STEPS, LATER))
        assert not await repository.clear_join(
            tx, before.order_id, LATER.name
        )  # its events reach the step all the same
        assert [await repository.clear_join(tx, before.order_id, step) for step in owed] == [False, False, True]
        assert not await repository.clear_join(tx, before.order_id, LATER.name)


async def test_an_order_placed_after_a_step_joined_waits_for_it(
    shared_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "STEPS", (*STEPS, LATER))
    async with engine_of(shared_database_url) as engine, engine.begin() as tx:
        after = await place(tx, new_order(), SOURCE)
        ended = [await repository.clear_join(tx, after.order_id, step) for step in joined_steps()]
    assert ended == [False, False, False, True]
