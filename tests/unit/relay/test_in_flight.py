"""The window: one event per subject under way, others overtake, pages leave complete and in order."""

import asyncio
import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import pytest

from outbox.cursor.reader import Row
from relay import in_flight as in_flight_module
from relay.in_flight import Bounds, InFlightWindow
from relay.publisher import Outcome
from tests.support.builders.events import a_page, a_row

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Broker:
    """Notes the published events and settles those that the test names. `published` counts repeats."""

    def __init__(
        self, window: int = 100, open_events: int = 1000, page_size: int = 10, open_bytes: int = 1_000_000
    ) -> None:
        self.published: list[Row] = []
        self.news = asyncio.Event()
        self.reports = 0
        self.window = InFlightWindow(self.take, Bounds(window, open_events, open_bytes, page_size), self.report)

    def take(self, rows: list[Row]) -> None:
        self.published += rows
        self.news.set()

    def report(self) -> None:
        self.reports += 1

    def add_page(self, *rows: Row) -> None:
        self.window.add_page(a_page(rows), NOW)

    def ids(self) -> list[int]:
        return [row.id for row in self.published]

    async def published_again(self) -> None:
        self.news.clear()
        async with asyncio.timeout(10):
            await self.news.wait()

    def completed(self) -> list[int]:
        pages = self.window.complete_pages()
        self.window.advanced_past(len(pages))
        return [page.page.rows[0].id for page in pages]


async def test_a_second_event_of_a_subject_waits_for_the_first_to_be_confirmed_and_others_overtake() -> None:
    broker = Broker()
    first, second, other = a_row(1, "a"), a_row(2, "a"), a_row(3, "b")
    broker.add_page(first, second, other)
    assert broker.ids() == [1, 3]
    broker.window.settle([other], Outcome.CONFIRMED)
    assert broker.ids() == [1, 3]
    broker.window.settle([first], Outcome.CONFIRMED)
    assert broker.ids() == [1, 3, 2]


async def test_a_subjects_event_of_a_later_page_waits_too() -> None:
    broker = Broker()
    first, second = a_row(1, "a"), a_row(2, "a")
    broker.add_page(first)
    broker.add_page(second, a_row(3, "b"))
    assert broker.ids() == [1, 3]
    broker.window.settle([first], Outcome.CONFIRMED)
    assert broker.ids() == [1, 3, 2]


@pytest.mark.parametrize("outcome", [Outcome.NACKED, Outcome.RETURNED])
async def test_an_event_not_taken_is_published_again_after_a_pause_and_holds_its_subject_back(
    monkeypatch: pytest.MonkeyPatch, outcome: Outcome
) -> None:
    monkeypatch.setattr(in_flight_module, "FIRST_PAUSE_SECONDS", 0.001)

    broker = Broker()
    first, second, other = a_row(1, "a"), a_row(2, "a"), a_row(3, "b")
    broker.add_page(first, second, other)
    broker.window.settle([first], outcome)
    assert broker.ids() == [1, 3]  # not at once
    assert broker.window.in_flight == 1
    broker.window.settle([other], Outcome.CONFIRMED)
    await broker.published_again()
    assert broker.ids() == [1, 3, 1]
    assert broker.completed() == []
    broker.window.settle([first], Outcome.CONFIRMED)
    assert broker.ids() == [1, 3, 1, 2]
    broker.window.settle([second], Outcome.CONFIRMED)
    assert broker.completed() == [1]
    assert broker.window.unsettled == 0


async def test_the_pause_doubles_up_to_its_cap_and_starts_small_for_the_next_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Broker()
    pauses: list[float] = []
    loop = asyncio.get_running_loop()

    def at_once(pause: float, call: Callable[[Row], None], row: Row) -> None:
        pauses.append(pause)
        loop.call_soon(call, row)

    monkeypatch.setattr(loop, "call_later", at_once)
    stubborn, other = a_row(1, "a"), a_row(2, "b")
    broker.add_page(stubborn, other)
    for _ in range(9):
        broker.window.settle([stubborn], Outcome.NACKED)
        await broker.published_again()
    broker.window.settle([other], Outcome.NACKED)
    await broker.published_again()
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 0.05]


async def test_no_more_is_published_than_the_window_holds() -> None:
    broker = Broker(window=3)
    rows = [a_row(number, f"s{number}") for number in range(1, 8)]
    broker.add_page(*rows)
    assert broker.ids() == [1, 2, 3]
    assert (broker.window.in_flight, broker.window.unsettled) == (3, 7)
    broker.window.settle([rows[1]], Outcome.CONFIRMED)
    assert broker.ids() == [1, 2, 3, 4]
    assert (broker.window.in_flight, broker.window.unsettled) == (3, 6)


async def test_a_page_confirmed_early_waits_for_the_pages_before_it() -> None:
    broker = Broker()
    rows = [a_row(number, f"s{number}") for number in range(1, 6)]
    broker.add_page(*rows[:2])
    broker.add_page(*rows[2:4])
    broker.add_page(*rows[4:])
    for row in (*rows[2:], rows[1]):
        broker.window.settle([row], Outcome.CONFIRMED)
    assert broker.completed() == []
    broker.window.settle([rows[0]], Outcome.CONFIRMED)
    assert broker.completed() == [1, 3, 5]
    assert broker.completed() == []


async def test_what_is_confirmed_but_not_yet_passed_is_still_under_way() -> None:
    broker = Broker()
    row = a_row(1)
    await broker.window.drained()
    assert broker.window.oldest_sent_at is None
    broker.add_page(row)
    assert broker.window.oldest_sent_at == NOW
    broker.window.settle([row], Outcome.CONFIRMED)
    assert (broker.window.unsettled, broker.window.open_events) == (0, 1)
    resting = asyncio.ensure_future(broker.window.drained())
    await asyncio.sleep(0)
    assert not resting.done()
    assert broker.completed() == [1]
    await resting
    assert broker.window.open_events == 0


async def test_it_is_at_rest_although_events_wait_that_are_refused_or_held() -> None:
    broker = Broker()
    refused, behind, done = a_row(1, "a"), a_row(2, "a"), a_row(3, "b")
    broker.add_page(refused, behind, done)
    broker.window.settle([refused], Outcome.NACKED)
    resting = asyncio.ensure_future(broker.window.drained())
    await asyncio.sleep(0)
    assert not resting.done()  # one is on its way
    broker.window.settle([done], Outcome.CONFIRMED)
    await resting
    broker.window.hold("queues")
    broker.window.add_page(a_page([a_row(4, "c")]), NOW)
    await broker.window.drained()


async def test_pages_are_handed_out_that_were_complete_before_a_moment() -> None:
    broker = Broker()
    loop = asyncio.get_running_loop()
    rows = [a_row(1, "a"), a_row(2, "b")]
    broker.add_page(rows[0])
    broker.add_page(rows[1])
    began = loop.time()
    broker.window.settle(rows[:1], Outcome.CONFIRMED)
    assert broker.window.complete_pages(until=began) == []
    await asyncio.sleep(0.001)
    between = loop.time()
    broker.window.settle(rows[1:], Outcome.CONFIRMED)
    assert [page.page.rows[0].id for page in broker.window.complete_pages(until=between)] == [1]
    assert len(broker.window.complete_pages()) == 2


async def test_it_says_so_when_the_oldest_page_is_complete_and_not_before() -> None:
    broker = Broker()
    rows = [a_row(1, "a"), a_row(2, "b")]
    broker.add_page(rows[0])
    broker.add_page(rows[1])
    broker.window.settle([rows[1]], Outcome.CONFIRMED)
    assert broker.reports == 0
    broker.window.settle([rows[0]], Outcome.CONFIRMED)
    assert broker.reports == 1


async def test_there_is_room_for_a_page_while_less_than_a_window_waits() -> None:
    broker = Broker(window=2)
    rows = [a_row(number, f"s{number}") for number in range(1, 4)]
    broker.add_page(*rows[:1])
    assert await broker.window.wait_for_room(3600)
    broker.add_page(*rows[1:])
    assert not await broker.window.wait_for_room(0)
    broker.window.settle(rows[:2], Outcome.CONFIRMED)
    assert await broker.window.wait_for_room(3600)


async def test_others_overtake_an_event_that_is_never_taken_up_to_the_bound_and_no_further() -> None:
    broker = Broker(window=5, open_events=8, page_size=2)
    stuck = a_row(1, "stuck")
    broker.add_page(stuck)
    others = [a_row(number, f"s{number}") for number in range(2, 8)]
    for start in range(0, 6, 2):
        assert broker.window.has_room
        broker.add_page(*others[start : start + 2])
        broker.window.settle(others[start : start + 2], Outcome.CONFIRMED)
    assert (broker.window.unsettled, broker.window.open_events) == (1, 7)
    assert not broker.window.has_room
    broker.window.settle([stuck], Outcome.CONFIRMED)
    assert broker.completed() == [1, 2, 4, 6]
    assert broker.window.has_room


async def test_events_that_wait_for_a_retry_do_not_stop_the_reading() -> None:
    broker = Broker(window=3, open_events=100, page_size=1)
    stuck = [a_row(number, f"stuck{number}") for number in range(1, 4)]
    broker.add_page(*stuck)
    assert not broker.window.has_room
    broker.window.settle(stuck, Outcome.NACKED)
    assert broker.window.has_room
    broker.add_page(a_row(4, "b"), a_row(5, "c"), a_row(6, "c"))
    assert broker.window.has_room  # one waits behind its subject, two are on their way
    broker.add_page(a_row(7, "d"))
    assert not broker.window.has_room


async def test_large_events_are_bounded_by_their_bytes() -> None:
    broker = Broker(open_bytes=1000)
    rows = [a_row(number, f"s{number}")._replace(data=b"x" * 600) for number in range(1, 3)]
    broker.add_page(rows[0])
    assert broker.window.has_room
    broker.add_page(rows[1])
    assert not broker.window.has_room
    broker.window.settle(rows, Outcome.CONFIRMED)
    assert not broker.window.has_room
    assert broker.completed() == [1, 2]
    assert broker.window.has_room


async def test_a_page_larger_than_the_bound_is_taken_on_alone() -> None:
    broker = Broker(window=5, open_events=3, page_size=10)
    assert broker.window.has_room
    broker.add_page(*(a_row(number, f"s{number}") for number in range(1, 5)))
    assert not broker.window.has_room


async def test_while_held_nothing_is_published_not_even_again_and_nothing_has_room() -> None:
    broker = Broker()
    rows = [a_row(1, "a"), a_row(2, "a")]
    broker.add_page(*rows)
    broker.window.hold("queues")
    broker.window.hold("channel")
    broker.window.settle(rows[:1], Outcome.CONFIRMED)
    assert broker.ids() == [1]
    broker.window.release("queues")
    assert not broker.window.has_room
    assert broker.ids() == [1]
    broker.window.release("channel")
    assert broker.window.has_room
    assert broker.ids() == [1, 2]


async def carry_past(
    poison: set[int], rows: list[Row], *, nack: Iterable[int] = ()
) -> tuple[list[int], list[int], int]:
    """Publish to a broker that closes the channel at each poison event: dead-lettered, confirmed, channels used."""

    broker = Broker(window=64)
    window = broker.window
    refused, confirmed, channels = set(nack), [], 1
    dead_lettered = []
    window.add_page(a_page(rows), NOW)
    while window.unsettled:
        batch, broker.published = broker.published, []
        if not batch:
            await broker.published_again()
            continue
        closing = next((place for place, row in enumerate(batch) if row.id in poison), None)
        good = batch if closing is None else batch[:closing][: channels % 3]  # the broker may die owing some acks
        for row in good:
            if row.id in refused:
                refused.discard(row.id)
                window.settle([row], Outcome.NACKED)
            else:
                confirmed.append(row.id)
                window.settle([row], Outcome.CONFIRMED)
        if closing is not None:
            window.hold("channel")
            late, broker.published = broker.published, []
            found = window.interrupted([*batch[len(good) :], *late])
            channels += 1
            window.release("channel")
            if found is not None:
                dead_lettered.append(found.id)
                window.settle([found], Outcome.UNPUBLISHABLE)
    assert broker.completed() == [rows[0].id]
    assert window.in_flight == 0
    return dead_lettered, confirmed, channels


@pytest.mark.parametrize("poison", [{1}, {64}, {33}, {1, 64}, {7, 8}, {10, 20, 30}, set(range(1, 65))], ids=str)
async def test_events_that_close_the_channel_are_found_and_every_other_is_confirmed(poison: set[int]) -> None:
    rows = [a_row(number, f"s{number}") for number in range(1, 65)]
    dead_lettered, confirmed, channels = await carry_past(poison, rows)
    assert sorted(dead_lettered) == sorted(poison)
    assert sorted(confirmed) == [number for number in range(1, 65) if number not in poison]
    assert channels - 1 <= len(poison) * 7  # halvings of 64, and the first


@pytest.mark.parametrize("seed", range(10))
async def test_the_search_keeps_each_subject_in_order_among_nacks(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(in_flight_module, "FIRST_PAUSE_SECONDS", 0.0)
    rng = random.Random(seed)
    rows = [a_row(number, f"s{rng.randint(1, 9)}") for number in range(1, 101)]
    poison = set(rng.sample(range(1, 101), 5))
    nack = set(rng.sample(range(1, 101), 20)) - poison
    dead_lettered, confirmed, _ = await carry_past(poison, rows, nack=nack)
    assert sorted(dead_lettered) == sorted(poison)
    assert sorted(confirmed + dead_lettered) == list(range(1, 101))
    subject_of = {row.id: row.subject for row in rows}
    for subject in set(subject_of.values()):
        ids = [number for number in confirmed if subject_of[number] == subject]
        assert ids == sorted(ids)


@pytest.mark.parametrize("seed", range(20))
async def test_however_the_broker_settles_each_subject_stays_in_order_and_every_page_completes(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(in_flight_module, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(in_flight_module, "LONGEST_PAUSE_SECONDS", 0.0)
    rng = random.Random(seed)

    broker = Broker(window=rng.randint(1, 12))
    rows = [a_row(number, f"s{rng.randint(1, 6)}") for number in range(1, 101)]
    confirmed: list[Row] = []
    completed: list[int] = []
    for start in range(0, 100, 10):
        broker.add_page(*rows[start : start + 10])
    async with asyncio.timeout(30):
        while len(confirmed) < 100:
            under_way = list(broker.published)
            if not under_way:
                await broker.published_again()
                continue
            assert broker.window.in_flight == len(under_way) <= broker.window._bounds.window
            assert len({row.subject for row in under_way}) == len(under_way)
            row = rng.choice(under_way)
            broker.published.remove(row)
            outcome = rng.choice([Outcome.CONFIRMED, Outcome.NACKED, Outcome.RETURNED])
            if outcome is Outcome.CONFIRMED:
                confirmed.append(row)
            broker.window.settle([row], outcome)
            completed += broker.completed()
    assert completed == list(range(1, 100, 10))
    for subject in {row.subject for row in rows}:
        ids = [row.id for row in confirmed if row.subject == subject]
        assert ids == sorted(ids)
