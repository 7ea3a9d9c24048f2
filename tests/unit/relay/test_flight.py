"""The window: one event per subject under way, others overtake, pages leave complete and in order."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from outbox.reader import Row
from relay import flight as flight_module
from relay.flight import Flight
from relay.publisher import Outcome
from tests.messages import a_page, a_row

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Broker:
    """Takes note of what is published and settles what the test says. `published` counts repeats."""

    def __init__(self, window: int = 100) -> None:
        self.published: list[Row] = []
        self.news = asyncio.Event()
        self.flight = Flight(self.take, window)

    def take(self, row: Row) -> None:
        self.published.append(row)
        self.news.set()

    def launch(self, *rows: Row) -> None:
        self.flight.launch(a_page(rows), NOW)

    def ids(self) -> list[int]:
        return [row.id for row in self.published]

    async def published_again(self) -> None:
        self.news.clear()
        async with asyncio.timeout(10):
            await self.news.wait()

    def completed(self) -> list[int]:
        firsts = []
        while (page := self.flight.complete()) is not None:
            firsts.append(page.page.rows[0].id)
        return firsts


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario()

    asyncio.run(main())


def test_a_second_event_of_a_subject_waits_for_the_first_to_be_confirmed_and_others_overtake() -> None:
    async def scenario() -> None:
        broker = Broker()
        first, second, other = a_row(1, "a"), a_row(2, "a"), a_row(3, "b")
        broker.launch(first, second, other)
        assert broker.ids() == [1, 3]
        broker.flight.settle(other, Outcome.CONFIRMED)
        assert broker.ids() == [1, 3]
        broker.flight.settle(first, Outcome.CONFIRMED)
        assert broker.ids() == [1, 3, 2]

    run(scenario)


def test_a_subjects_event_of_a_later_page_waits_too() -> None:
    async def scenario() -> None:
        broker = Broker()
        first, second = a_row(1, "a"), a_row(2, "a")
        broker.launch(first)
        broker.launch(second, a_row(3, "b"))
        assert broker.ids() == [1, 3]
        broker.flight.settle(first, Outcome.CONFIRMED)
        assert broker.ids() == [1, 3, 2]

    run(scenario)


@pytest.mark.parametrize("outcome", [Outcome.NACKED, Outcome.RETURNED])
def test_an_event_not_taken_is_published_again_after_a_pause_and_holds_its_subject_back(
    monkeypatch: pytest.MonkeyPatch, outcome: Outcome
) -> None:
    monkeypatch.setattr(flight_module, "FIRST_PAUSE_SECONDS", 0.001)

    async def scenario() -> None:
        broker = Broker()
        first, second, other = a_row(1, "a"), a_row(2, "a"), a_row(3, "b")
        broker.launch(first, second, other)
        broker.flight.settle(first, outcome)
        assert broker.ids() == [1, 3]  # not at once
        assert broker.flight.in_flight == 1
        broker.flight.settle(other, Outcome.CONFIRMED)
        await broker.published_again()
        assert broker.ids() == [1, 3, 1]
        assert broker.completed() == []
        broker.flight.settle(first, Outcome.CONFIRMED)
        assert broker.ids() == [1, 3, 1, 2]
        broker.flight.settle(second, Outcome.CONFIRMED)
        assert broker.completed() == [1]
        assert broker.flight.held == 0

    run(scenario)


def test_the_pause_doubles_up_to_its_cap_and_starts_small_for_the_next_event(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        broker = Broker()
        pauses: list[float] = []
        loop = asyncio.get_running_loop()

        def at_once(pause: float, call: Callable[[Row], None], row: Row) -> None:
            pauses.append(pause)
            loop.call_soon(call, row)

        monkeypatch.setattr(loop, "call_later", at_once)
        stubborn, other = a_row(1, "a"), a_row(2, "b")
        broker.launch(stubborn, other)
        for _ in range(9):
            broker.flight.settle(stubborn, Outcome.NACKED)
            await broker.published_again()
        broker.flight.settle(other, Outcome.NACKED)
        await broker.published_again()
        assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 0.05]

    run(scenario)


def test_no_more_is_published_than_the_window_holds() -> None:
    async def scenario() -> None:
        broker = Broker(window=3)
        rows = [a_row(number, f"s{number}") for number in range(1, 8)]
        broker.launch(*rows)
        assert broker.ids() == [1, 2, 3]
        assert (broker.flight.in_flight, broker.flight.held) == (3, 7)
        broker.flight.settle(rows[1], Outcome.CONFIRMED)
        assert broker.ids() == [1, 2, 3, 4]
        assert (broker.flight.in_flight, broker.flight.held) == (3, 6)

    run(scenario)


def test_a_page_confirmed_early_waits_for_the_pages_before_it() -> None:
    async def scenario() -> None:
        broker = Broker()
        rows = [a_row(number, f"s{number}") for number in range(1, 6)]
        broker.launch(*rows[:2])
        broker.launch(*rows[2:4])
        broker.launch(*rows[4:])
        for row in (*rows[2:], rows[1]):
            broker.flight.settle(row, Outcome.CONFIRMED)
        assert broker.completed() == []
        broker.flight.settle(rows[0], Outcome.CONFIRMED)
        assert broker.completed() == [1, 3, 5]
        assert broker.completed() == []

    run(scenario)


def test_what_is_confirmed_but_not_yet_handed_out_is_still_under_way() -> None:
    async def scenario() -> None:
        broker = Broker()
        row = a_row(1)
        assert broker.flight.empty
        broker.launch(row)
        broker.flight.settle(row, Outcome.CONFIRMED)
        assert (broker.flight.held, broker.flight.empty) == (0, False)
        assert broker.completed() == [1]
        assert broker.flight.empty

    run(scenario)


def test_progress_returns_for_what_was_settled_before_or_during_the_wait_and_gives_up_otherwise() -> None:
    async def scenario() -> None:
        broker = Broker()
        rows = [a_row(1, "a"), a_row(2, "b")]
        broker.launch(*rows)
        async with asyncio.timeout(10):
            broker.flight.settle(rows[0], Outcome.CONFIRMED)
            await broker.flight.progress(3600)
            asyncio.get_running_loop().call_soon(broker.flight.settle, rows[1], Outcome.CONFIRMED)
            await broker.flight.progress(3600)
            await broker.flight.progress(0)

    run(scenario)


@pytest.mark.parametrize("seed", range(20))
def test_however_the_broker_settles_each_subject_stays_in_order_and_every_page_completes(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(flight_module, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(flight_module, "LONGEST_PAUSE_SECONDS", 0.0)
    rng = random.Random(seed)

    async def scenario() -> None:
        broker = Broker(window=rng.randint(1, 12))
        rows = [a_row(number, f"s{rng.randint(1, 6)}") for number in range(1, 101)]
        confirmed: list[Row] = []
        completed: list[int] = []
        for start in range(0, 100, 10):
            broker.launch(*rows[start : start + 10])
        async with asyncio.timeout(30):
            while len(confirmed) < 100:
                under_way = list(broker.published)
                if not under_way:
                    await broker.published_again()
                    continue
                assert broker.flight.in_flight == len(under_way) <= broker.flight._window
                assert len({row.subject for row in under_way}) == len(under_way)
                row = rng.choice(under_way)
                broker.published.remove(row)
                outcome = rng.choice([Outcome.CONFIRMED, Outcome.NACKED, Outcome.RETURNED])
                if outcome is Outcome.CONFIRMED:
                    confirmed.append(row)
                broker.flight.settle(row, outcome)
                completed += broker.completed()
        assert completed == list(range(1, 100, 10))
        for subject in {row.subject for row in rows}:
            ids = [row.id for row in confirmed if row.subject == subject]
            assert ids == sorted(ids)

    run(scenario)
