"""Each attempt at a step is kept: who made it, how long it took, how it ended; and it costs a delivery no statement."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import RowMapping, event
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.delivery.error_kinds import StepError
from consumers.delivery.result import DeliveryResult
from consumers.delivery.step_kinds import LocalStep, OutsideStep
from orders.model import Order
from orders.tracking.load import load_timeline, repeatable_read
from orders.tracking.timeline import AttemptOutcome as Ending
from orders.tracking.timeline import EntryKind, Timeline
from orders.workflow import ErrorKind
from outbox.envelope import Event
from outbox.inbox import MAX_CLAIMS
from runtime.settings import Settings
from tests.support.builders.step_doubles import Acting, Failing, Unrecorded
from tests.support.builders.step_harness import StepHarness, again, step_harness

LOCAL, OUTSIDE = "validate_order", "send_confirmation_email"
ATTEMPTS = "SELECT * FROM order_attempts WHERE order_id = :id ORDER BY started_at, generation, claim"
LEASE_OVER = "UPDATE outbox.deliveries SET lease_until = clock_timestamp() - interval '1 s' WHERE event_id = :id"


async def _placed(harness: StepHarness) -> tuple[Order, Event]:
    order = await harness.place_order()
    return order, await harness.event(order, "order.placed")


async def _kept(harness: StepHarness, order: Order) -> Sequence[RowMapping]:
    return await harness.sql(ATTEMPTS, id=order.id)


def _numbers(rows: Sequence[RowMapping]) -> list[tuple[int, int, int, str | None]]:
    return [(row["generation"], row["claim"], row["attempt"], row["outcome"]) for row in rows]


async def _timeline(harness: StepHarness, order: Order) -> Timeline:
    async with repeatable_read(harness.ctx.engine).begin() as tx:
        return await load_timeline(tx, await harness.order(order.id))


async def test_a_local_step_is_one_attempt_that_is_written_with_its_end(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, placed = await _placed(harness)

        class Slow(LocalStep):
            async def apply(self, *_: Any) -> None:
                await asyncio.sleep(0.05)

        assert await harness.runner(LOCAL, Slow()).deliver(placed) is DeliveryResult.DONE
        assert await harness.runner(LOCAL, Slow()).deliver(placed) is DeliveryResult.DUPLICATE
        (row,) = await _kept(harness, order)
        assert _numbers([row]) == [(1, 0, 1, "done")]
        assert (row["step"], row["event_type"], row["error"]) == (LOCAL, "order.placed", None)
        assert row["worker"] == f"test@{socket.gethostname()}/{os.getpid()}"
        assert 0.05 <= (row["ended_at"] - row["started_at"]).total_seconds() < 30


async def test_an_outside_step_opens_its_attempt_with_the_claim_and_closes_it_with_the_effect(
    settings: Settings,
) -> None:
    async with step_harness(settings) as harness:
        order, placed = await _placed(harness)
        double = Acting()
        holder = asyncio.create_task(harness.runner(OUTSIDE, double).deliver(placed))
        await double.started.wait()
        (opened,) = await _kept(harness, order)
        assert (_numbers([opened]), opened["ended_at"]) == ([(1, 1, 1, None)], None)
        (attempt,) = [one for one in (await _timeline(harness, order)).entries if one.what is EntryKind.ATTEMPT]
        assert attempt.outcome is Ending.RUNNING
        double.may_end.set()
        assert await holder is DeliveryResult.DONE
        (closed,) = await _kept(harness, order)
        assert _numbers([closed]) == [(1, 1, 1, "done")]
        assert closed["started_at"] == opened["started_at"] < closed["ended_at"]


async def test_an_attempt_at_an_event_that_is_past_retention_still_runs(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, placed = await _placed(harness)
        assert await harness.deliver("record_audit", placed) is DeliveryResult.DONE
        double = Acting()
        holder = asyncio.create_task(harness.runner(OUTSIDE, double).deliver(placed))
        await double.started.wait()
        await harness.sql("DELETE FROM outbox.events WHERE event_id = :id", id=placed.id)
        (attempt,) = [one for one in (await _timeline(harness, order)).entries if one.what is EntryKind.ATTEMPT]
        assert attempt.outcome is Ending.RUNNING
        double.may_end.set()
        assert await holder is DeliveryResult.DONE


class Refusing(Acting):
    """Fails each time; `other_side_is_away` answers its probe."""

    def __init__(self) -> None:
        super().__init__(waits=False)
        self.kind, self.other_side_is_away = ErrorKind.SERVER, False

    async def perform(self, *arguments: Any) -> dict[str, Any]:
        await super().perform(*arguments)
        raise StepError("no", kind=self.kind)

    async def is_away(self) -> bool:
        return self.other_side_is_away


async def test_retries_an_outage_and_the_last_delivery_are_attempts_of_their_own(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, placed = await _placed(harness)
        double = Refusing()
        runner = harness.runner(OUTSIDE, double)
        assert await runner.deliver(placed) is DeliveryResult.RETRIED
        double.other_side_is_away = True
        assert await runner.deliver(again(placed, 2)) is DeliveryResult.AWAY
        double.other_side_is_away, double.kind = False, ErrorKind.BAD_DATA
        assert await runner.deliver(again(placed, 3)) is DeliveryResult.DEAD
        rows = await _kept(harness, order)
        assert _numbers(rows) == [(1, 1, 1, "retried"), (2, 1, 2, "away"), (3, 1, 2, "dead")]
        assert {row["error"] for row in rows} == {"StepError: no"}

        # A replay counts its attempts anew, and the attempts before it stay.
        assert await harness.runner(OUTSIDE, Acting(waits=False)).deliver(again(placed, 4)) is DeliveryResult.DONE
        assert _numbers(await _kept(harness, order)) == [*_numbers(rows), (4, 1, 1, "done")]


@pytest.mark.parametrize(("kind", "outcome"), [(ErrorKind.SERVER, "retried"), (ErrorKind.BAD_DATA, "dead")])
async def test_a_local_step_that_fails_leaves_its_attempt_though_its_transaction_is_gone(
    settings: Settings, kind: ErrorKind, outcome: str
) -> None:
    async with step_harness(settings) as harness:
        order, placed = await _placed(harness)
        await harness.runner(LOCAL, Failing(StepError("no", kind=kind))).deliver(placed)
        (row,) = await _kept(harness, order)
        assert (_numbers([row]), row["error"]) == ([(1, 0, 1, outcome)], "StepError: no")
        assert row["started_at"] < row["ended_at"]


async def _kill(harness: StepHarness, step: str, double: Acting, placed: Event) -> None:
    """A worker claims a delivery, begins and dies; its lease runs out."""
    double.started.clear()
    killed = asyncio.create_task(harness.runner(step, double).deliver(placed))
    await double.started.wait()
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    await harness.sql(LEASE_OVER, id=placed.id)


async def test_a_worker_that_dies_leaves_an_attempt_without_an_end_and_the_story_says_so(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, _ = await _placed(harness)
        placed = await harness.event(order, "order.placed")
        await _kill(harness, OUTSIDE, Acting(), placed)
        (dead,) = [one for one in (await _timeline(harness, order)).entries if one.what is EntryKind.ATTEMPT]
        assert (dead.outcome, dead.ended_at) == (Ending.LOST, None)  # the lease is over

        assert await harness.runner(OUTSIDE, Acting(waits=False)).deliver(placed) is DeliveryResult.DONE
        assert _numbers(await _kept(harness, order)) == [(1, 1, 1, None), (1, 2, 1, "done")]
        attempts = [one for one in (await _timeline(harness, order)).entries if one.what is EntryKind.ATTEMPT]
        assert [one.outcome for one in attempts] == [Ending.LOST, Ending.DONE]


async def test_a_killer_of_workers_ends_with_the_claim_that_dead_letters_it(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, placed = await _placed(harness)
        double = Acting()
        for _ in range(MAX_CLAIMS):
            await _kill(harness, OUTSIDE, double, placed)
        assert await harness.runner(OUTSIDE, double).deliver(placed) is DeliveryResult.DEAD
        lost = [(1, claim, 1, None) for claim in range(1, MAX_CLAIMS + 1)]
        assert _numbers(await _kept(harness, order)) == [*lost, (1, MAX_CLAIMS + 1, 1, "dead")]


async def test_a_local_step_that_is_claimed_first_keeps_its_claim_as_its_attempt(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, placed = await _placed(harness)
        assert await harness.runner(LOCAL).deliver(placed, redelivered=True) is DeliveryResult.DONE
        assert _numbers(await _kept(harness, order)) == [(1, 1, 1, "done")]


async def test_the_audit_keeps_its_row_and_no_attempt(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, placed = await _placed(harness)
        assert await harness.deliver("record_audit", placed) is DeliveryResult.DONE
        assert await _kept(harness, order) == []


async def test_an_audit_that_failed_is_a_step_of_its_order_until_it_is_done(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, placed = await _placed(harness)
        assert await harness.runner("record_audit", Unrecorded()).deliver(placed) is DeliveryResult.RETRIED
        assert await harness.deliver("record_audit", again(placed, 2)) is DeliveryResult.DONE
        assert _numbers(await _kept(harness, order)) == [(1, 0, 1, "retried"), (2, 0, 2, "done")]
        assert (await harness.shown(order, "record_audit"))["state"] == "done"


async def test_what_an_attempt_and_its_step_keep_of_an_error_shows_no_address(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, placed = await _placed(harness)
        refused = StepError("550 <blondel@customers.example>: no such mailbox", kind=ErrorKind.REFUSED)
        await harness.runner(LOCAL, Failing(refused)).deliver(placed)
        (row,) = await _kept(harness, order)
        assert row["error"] == (await harness.shown(order, LOCAL))["error"] == "StepError: 550 <***>: no such mailbox"


async def test_an_event_of_an_order_that_does_not_exist_leaves_no_attempt(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, placed = await _placed(harness)
        await harness.sql("DELETE FROM order_lines WHERE order_id = :id", id=order.id)
        await harness.sql("DELETE FROM orders WHERE id = :id", id=order.id)
        assert await harness.deliver(LOCAL, placed) is DeliveryResult.DEAD
        assert await _kept(harness, order) == []


class Idle(OutsideStep):
    """Has nothing to do."""

    async def prepare(self, *_: Any) -> None:
        """Nothing."""

    async def perform(self, *_: Any) -> dict[str, Any]:
        return {}

    async def conclude(self, *_: Any) -> None:
        """Nothing."""


class IdleHere(LocalStep):
    """Has nothing to do here."""

    async def apply(self, *_: Any) -> None:
        """Nothing."""


async def _counted(engine: AsyncEngine, deliver: Callable[[], Awaitable[DeliveryResult]]) -> tuple[int, int]:
    """Statements and commits of a delivery."""
    statements, commits = [], []

    def executed(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    def committed(connection: Any) -> None:
        commits.append(connection)

    listeners = (("before_cursor_execute", executed), ("commit", committed))
    for name, listener in listeners:
        event.listen(engine.sync_engine, name, listener)
    try:
        assert await deliver() is DeliveryResult.DONE
    finally:
        for name, listener in listeners:
            event.remove(engine.sync_engine, name, listener)
    return len(statements), len(commits)


@pytest.mark.parametrize(("step", "double", "cost"), [(LOCAL, IdleHere(), (2, 1)), (OUTSIDE, Idle(), (4, 2))])
async def test_a_delivery_costs_an_inbox_write_and_one_for_page_and_history_in_each_of_its_transactions(
    settings: Settings, step: str, double: LocalStep | OutsideStep, cost: tuple[int, int]
) -> None:
    async with step_harness(settings) as harness:
        _, placed = await _placed(harness)
        runner = harness.runner(step, double)
        assert await _counted(harness.ctx.engine, lambda: runner.deliver(placed)) == cost
