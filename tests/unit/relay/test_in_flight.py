"""The window: one event per subject under way, others overtake, pages leave complete and in order."""

import asyncio
import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import pytest

from outbox.cursor.reader import Row
from relay import in_flight as flight_module
from relay.in_flight import Bounds, Flight
from relay.publisher import Outcome
from tests.support.builders.events import a_page, a_row

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Broker:
    """Takes note of what is published and settles what the test says. `published` counts repeats."""

    def __init__(
        self, window: int = 100, open_events: int = 1000, page_size: int = 10, open_bytes: int = 1_000_000
    ) -> None:
        self.published: list[Row] = []
        self.news = asyncio.Event()
        self.told = 0
        self.flight = Flight(self.take, Bounds(window, open_events, open_bytes, page_size), self.tell)

    def take(self, rows: list[Row]) -> None:
        self.published += rows
        self.news.set()

    def tell(self) -> None:
        self.told += 1

    def launch(self, *rows: Row) -> None:
        self.flight.launch(a_page(rows), NOW)

    def ids(self) -> list[int]:
        return [row.id for row in self.published]

    async def published_again(self) -> None:
        self.news.clear()
        async with asyncio.timeout(10):
            await self.news.wait()

    def completed(self) -> list[int]:
        pages = self.flight.complete()
        self.flight.passed(len(pages))
        return [page.page.rows[0].id for page in pages]


async def test_a_second_event_of_a_subject_waits_for_the_first_to_be_confirmed_and_others_overtake() -> None:
    broker = Broker()
    first, second, other = a_row(1, "a"), a_row(2, "a"), a_row(3, "b")
    broker.launch(first, second, other)
    assert broker.ids() == [1, 3]
    broker.flight.settle([other], Outcome.CONFIRMED)
    assert broker.ids() == [1, 3]
    broker.flight.settle([first], Outcome.CONFIRMED)
    assert broker.ids() == [1, 3, 2]


async def test_a_subjects_event_of_a_later_page_waits_too() -> None:
    broker = Broker()
    first, second = a_row(1, "a"), a_row(2, "a")
    broker.launch(first)
    broker.launch(second, a_row(3, "b"))
    assert broker.ids() == [1, 3]
    broker.flight.settle([first], Outcome.CONFIRMED)
    assert broker.ids() == [1, 3, 2]


@pytest.mark.parametrize("outcome", [Outcome.NACKED, Outcome.RETURNED])
async def test_an_event_not_taken_is_published_again_after_a_pause_and_holds_its_subject_back(
    monkeypatch: pytest.MonkeyPatch, outcome: Outcome
) -> None:
    monkeypatch.setattr(flight_module, "FIRST_PAUSE_SECONDS", 0.001)

    broker = Broker()
    first, second, other = a_row(1, "a"), a_row(2, "a"), a_row(3, "b")
    broker.launch(first, second, other)
    broker.flight.settle([first], outcome)
    assert broker.ids() == [1, 3]  # not at once
    assert broker.flight.in_flight == 1
    broker.flight.settle([other], Outcome.CONFIRMED)
    await broker.published_again()
    assert broker.ids() == [1, 3, 1]
    assert broker.completed() == []
    broker.flight.settle([first], Outcome.CONFIRMED)
    assert broker.ids() == [1, 3, 1, 2]
    broker.flight.settle([second], Outcome.CONFIRMED)
    assert broker.completed() == [1]
    assert broker.flight.held == 0


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
    broker.launch(stubborn, other)
    for _ in range(9):
        broker.flight.settle([stubborn], Outcome.NACKED)
        await broker.published_again()
    broker.flight.settle([other], Outcome.NACKED)
    await broker.published_again()
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 0.05]


async def test_no_more_is_published_than_the_window_holds() -> None:
    broker = Broker(window=3)
    rows = [a_row(number, f"s{number}") for number in range(1, 8)]
    broker.launch(*rows)
    assert broker.ids() == [1, 2, 3]
    assert (broker.flight.in_flight, broker.flight.held) == (3, 7)
    broker.flight.settle([rows[1]], Outcome.CONFIRMED)
    assert broker.ids() == [1, 2, 3, 4]
    assert (broker.flight.in_flight, broker.flight.held) == (3, 6)


async def test_a_page_confirmed_early_waits_for_the_pages_before_it() -> None:
    broker = Broker()
    rows = [a_row(number, f"s{number}") for number in range(1, 6)]
    broker.launch(*rows[:2])
    broker.launch(*rows[2:4])
    broker.launch(*rows[4:])
    for row in (*rows[2:], rows[1]):
        broker.flight.settle([row], Outcome.CONFIRMED)
    assert broker.completed() == []
    broker.flight.settle([rows[0]], Outcome.CONFIRMED)
    assert broker.completed() == [1, 3, 5]
    assert broker.completed() == []


async def test_what_is_confirmed_but_not_yet_passed_is_still_under_way() -> None:
    broker = Broker()
    row = a_row(1)
    await broker.flight.at_rest()
    assert broker.flight.oldest_sent_at is None
    broker.launch(row)
    assert broker.flight.oldest_sent_at == NOW
    broker.flight.settle([row], Outcome.CONFIRMED)
    assert (broker.flight.held, broker.flight.open_events) == (0, 1)
    resting = asyncio.ensure_future(broker.flight.at_rest())
    await asyncio.sleep(0)
    assert not resting.done()
    assert broker.completed() == [1]
    await resting
    assert broker.flight.open_events == 0


async def test_it_is_at_rest_although_events_wait_that_are_refused_or_held() -> None:
    broker = Broker()
    refused, behind, done = a_row(1, "a"), a_row(2, "a"), a_row(3, "b")
    broker.launch(refused, behind, done)
    broker.flight.settle([refused], Outcome.NACKED)
    resting = asyncio.ensure_future(broker.flight.at_rest())
    await asyncio.sleep(0)
    assert not resting.done()  # one is on its way
    broker.flight.settle([done], Outcome.CONFIRMED)
    await resting
    broker.flight.hold("queues")
    broker.flight.launch(a_page([a_row(4, "c")]), NOW)
    await broker.flight.at_rest()


async def test_pages_are_handed_out_that_were_complete_before_a_moment() -> None:
    broker = Broker()
    loop = asyncio.get_running_loop()
    rows = [a_row(1, "a"), a_row(2, "b")]
    broker.launch(rows[0])
    broker.launch(rows[1])
    began = loop.time()
    broker.flight.settle(rows[:1], Outcome.CONFIRMED)
    assert broker.flight.complete(until=began) == []
    await asyncio.sleep(0.001)
    between = loop.time()
    broker.flight.settle(rows[1:], Outcome.CONFIRMED)
    assert [page.page.rows[0].id for page in broker.flight.complete(until=between)] == [1]
    assert len(broker.flight.complete()) == 2


async def test_it_says_so_when_the_oldest_page_is_complete_and_not_before() -> None:
    broker = Broker()
    rows = [a_row(1, "a"), a_row(2, "b")]
    broker.launch(rows[0])
    broker.launch(rows[1])
    broker.flight.settle([rows[1]], Outcome.CONFIRMED)
    assert broker.told == 0
    broker.flight.settle([rows[0]], Outcome.CONFIRMED)
    assert broker.told == 1


async def test_there_is_room_for_a_page_while_less_than_a_window_waits() -> None:
    broker = Broker(window=2)
    rows = [a_row(number, f"s{number}") for number in range(1, 4)]
    broker.launch(*rows[:1])
    assert await broker.flight.room(3600)
    broker.launch(*rows[1:])
    assert not await broker.flight.room(0)
    broker.flight.settle(rows[:2], Outcome.CONFIRMED)
    assert await broker.flight.room(3600)


async def test_others_overtake_an_event_that_is_never_taken_up_to_the_bound_and_no_further() -> None:
    broker = Broker(window=5, open_events=8, page_size=2)
    stuck = a_row(1, "stuck")
    broker.launch(stuck)
    others = [a_row(number, f"s{number}") for number in range(2, 8)]
    for start in range(0, 6, 2):
        assert broker.flight.has_room
        broker.launch(*others[start : start + 2])
        broker.flight.settle(others[start : start + 2], Outcome.CONFIRMED)
    assert (broker.flight.held, broker.flight.open_events) == (1, 7)
    assert not broker.flight.has_room
    broker.flight.settle([stuck], Outcome.CONFIRMED)
    assert broker.completed() == [1, 2, 4, 6]
    assert broker.flight.has_room


async def test_events_that_rest_until_they_are_tried_again_keep_nobody_from_being_read() -> None:
    broker = Broker(window=3, open_events=100, page_size=1)
    stuck = [a_row(number, f"stuck{number}") for number in range(1, 4)]
    broker.launch(*stuck)
    assert not broker.flight.has_room
    broker.flight.settle(stuck, Outcome.NACKED)
    assert broker.flight.has_room
    broker.launch(a_row(4, "b"), a_row(5, "c"), a_row(6, "c"))
    assert broker.flight.has_room  # one waits behind its subject, two are on their way
    broker.launch(a_row(7, "d"))
    assert not broker.flight.has_room


async def test_large_events_are_bounded_by_their_bytes() -> None:
    broker = Broker(open_bytes=1000)
    rows = [a_row(number, f"s{number}")._replace(data=b"x" * 600) for number in range(1, 3)]
    broker.launch(rows[0])
    assert broker.flight.has_room
    broker.launch(rows[1])
    assert not broker.flight.has_room
    broker.flight.settle(rows, Outcome.CONFIRMED)
    assert not broker.flight.has_room
    assert broker.completed() == [1, 2]
    assert broker.flight.has_room


async def test_a_page_larger_than_the_bound_is_taken_on_alone() -> None:
    broker = Broker(window=5, open_events=3, page_size=10)
    assert broker.flight.has_room
    broker.launch(*(a_row(number, f"s{number}") for number in range(1, 5)))
    assert not broker.flight.has_room


async def test_while_held_nothing_is_published_not_even_again_and_nothing_has_room() -> None:
    broker = Broker()
    rows = [a_row(1, "a"), a_row(2, "a")]
    broker.launch(*rows)
    broker.flight.hold("queues")
    broker.flight.hold("channel")
    broker.flight.settle(rows[:1], Outcome.CONFIRMED)
    assert broker.ids() == [1]
    broker.flight.release("queues")
    assert not broker.flight.has_room
    assert broker.ids() == [1]
    broker.flight.release("channel")
    assert broker.flight.has_room
    assert broker.ids() == [1, 2]


def carry_past(poison: set[int], rows: list[Row], *, nack: Iterable[int] = ()) -> tuple[list[int], list[int], int]:
    """Publish to a broker that closes the channel at each poison event: set aside, confirmed, channels used."""

    async def scenario() -> tuple[list[int], list[int], int]:
        broker = Broker(window=64)
        flight = broker.flight
        refused, confirmed, channels = set(nack), [], 1
        set_aside = []
        flight.launch(a_page(rows), NOW)
        while flight.held:
            batch, broker.published = broker.published, []
            if not batch:
                await broker.published_again()
                continue
            closing = next((place for place, row in enumerate(batch) if row.id in poison), None)
            good = batch if closing is None else batch[:closing][: channels % 3]  # the broker may die owing some acks
            for row in good:
                if row.id in refused:
                    refused.discard(row.id)
                    flight.settle([row], Outcome.NACKED)
                else:
                    confirmed.append(row.id)
                    flight.settle([row], Outcome.CONFIRMED)
            if closing is not None:
                flight.hold("channel")
                late, broker.published = broker.published, []
                found = flight.interrupted([*batch[len(good) :], *late])
                channels += 1
                flight.release("channel")
                if found is not None:
                    set_aside.append(found.id)
                    flight.settle([found], Outcome.UNPUBLISHABLE)
        assert broker.completed() == [rows[0].id]
        assert flight.in_flight == 0
        return set_aside, confirmed, channels

    return asyncio.run(scenario())


@pytest.mark.parametrize("poison", [{1}, {64}, {33}, {1, 64}, {7, 8}, {10, 20, 30}, set(range(1, 65))], ids=str)
def test_events_that_close_the_channel_are_found_and_every_other_is_confirmed(poison: set[int]) -> None:
    rows = [a_row(number, f"s{number}") for number in range(1, 65)]
    set_aside, confirmed, channels = carry_past(poison, rows)
    assert sorted(set_aside) == sorted(poison)
    assert sorted(confirmed) == [number for number in range(1, 65) if number not in poison]
    assert channels - 1 <= len(poison) * 7  # halvings of 64, and the first


@pytest.mark.parametrize("seed", range(10))
def test_the_search_keeps_each_subject_in_order_among_nacks(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(flight_module, "FIRST_PAUSE_SECONDS", 0.0)
    rng = random.Random(seed)
    rows = [a_row(number, f"s{rng.randint(1, 9)}") for number in range(1, 101)]
    poison = set(rng.sample(range(1, 101), 5))
    nack = set(rng.sample(range(1, 101), 20)) - poison
    set_aside, confirmed, _ = carry_past(poison, rows, nack=nack)
    assert sorted(set_aside) == sorted(poison)
    assert sorted(confirmed + set_aside) == list(range(1, 101))
    subject_of = {row.id: row.subject for row in rows}
    for subject in set(subject_of.values()):
        ids = [number for number in confirmed if subject_of[number] == subject]
        assert ids == sorted(ids)


@pytest.mark.parametrize("seed", range(20))
async def test_however_the_broker_settles_each_subject_stays_in_order_and_every_page_completes(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(flight_module, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(flight_module, "LONGEST_PAUSE_SECONDS", 0.0)
    rng = random.Random(seed)

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
            assert broker.flight.in_flight == len(under_way) <= broker.flight._bounds.window
            assert len({row.subject for row in under_way}) == len(under_way)
            row = rng.choice(under_way)
            broker.published.remove(row)
            outcome = rng.choice([Outcome.CONFIRMED, Outcome.NACKED, Outcome.RETURNED])
            if outcome is Outcome.CONFIRMED:
                confirmed.append(row)
            broker.flight.settle([row], outcome)
            completed += broker.completed()
    assert completed == list(range(1, 100, 10))
    for subject in {row.subject for row in rows}:
        ids = [row.id for row in confirmed if row.subject == subject]
        assert ids == sorted(ids)
