"""The loop over the window: what it takes on, when it moves the cursor, what stopping waits for."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, cast
from unittest.mock import Mock

import pytest

from outbox.reader import Page, Reader, Row
from relay.carrier import Carrier
from relay.publisher import Outcome, PublisherLostError
from runtime.settings import Settings
from tests.messages import a_page, a_row


class Pages:
    """A reader of prepared pages; `advanced` are the first ids of those that the cursor passed."""

    def __init__(self, *pages: Page) -> None:
        self.pages = list(pages)
        self.advanced: list[int] = []

    async def next_page(self) -> Page | None:
        return self.pages.pop(0) if self.pages else None

    async def advance(self, page: Page, epoch: int, sent_at: datetime) -> int:  # noqa: ARG002
        await asyncio.sleep(0)  # the database answers in a later turn of the loop
        self.advanced.append(page.rows[0].id)
        return len(self.advanced)


class Stage:
    """A carrier between prepared pages and a broker that answers when told."""

    def __init__(self, *pages: Page, page_size: int = 2, window: int = 4) -> None:
        settings = Settings(
            database_url="postgresql://nowhere/x",
            amqp_url="amqp://nowhere/",
            relay_page_size=page_size,
            relay_window=window,
            relay_idle_poll_seconds=0.001,
        )
        self.reader = Pages(*pages)
        self.carrier = Carrier(settings, cast("Reader", self.reader), epoch=1)
        self.published: list[Row] = []
        self.carrier.publisher._channel = Mock(is_open=True)
        self.carrier.publisher.publish = self.published.append  # type: ignore[method-assign, assignment]

    def confirm(self, *rows: Row) -> None:
        for row in rows:
            self.carrier._settled(row, Outcome.CONFIRMED)


def pages_of_two(count: int) -> list[Page]:
    return [a_page([a_row(2 * n + 1, f"a{n}"), a_row(2 * n + 2, f"b{n}")]) for n in range(count)]


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(main())


def test_the_cursor_moves_only_past_a_page_whose_every_event_is_confirmed() -> None:
    async def scenario() -> None:
        stage = Stage(*pages_of_two(1))
        first = await stage.carrier.run_once()
        assert (first.launched, first.confirmed, stage.reader.advanced) == (2, 0, [])
        stage.confirm(stage.published[0])
        await stage.carrier.run_once()
        assert stage.reader.advanced == []
        stage.confirm(stage.published[1])
        last = await stage.carrier.run_once()
        assert (last.launched, last.confirmed, stage.reader.advanced) == (0, 2, [1])

    run(scenario)


def test_only_as_many_pages_are_taken_on_as_the_window_has_room_for() -> None:
    async def scenario() -> None:
        stage = Stage(*pages_of_two(4), page_size=2, window=5)
        await stage.carrier.run_once()
        assert [row.id for row in stage.published] == [1, 2, 3, 4]
        stage.confirm(*stage.published[:2])
        await stage.carrier.run_once()
        assert [row.id for row in stage.published] == [1, 2, 3, 4, 5, 6]

    run(scenario)


def test_a_window_smaller_than_a_page_still_carries() -> None:
    async def scenario() -> None:
        rows = [a_row(number, f"s{number}") for number in range(1, 6)]
        stage = Stage(a_page(rows), page_size=5, window=2)
        await stage.carrier.run_once()
        assert [row.id for row in stage.published] == [1, 2]
        for number in range(5):
            stage.confirm(stage.published[number])
        assert (await stage.carrier.run_once()).confirmed == 5

    run(scenario)


def test_while_held_nothing_is_taken_on_and_what_is_in_flight_is_still_settled() -> None:
    async def scenario() -> None:
        stage = Stage(*pages_of_two(2), window=2)
        await stage.carrier.run_once()
        stage.carrier.hold(publishing=False)
        stage.confirm(*stage.published)
        carried = await stage.carrier.run_once()
        assert (carried.launched, carried.confirmed, len(stage.published)) == (0, 2, 2)
        stage.carrier.hold(publishing=True)
        assert (await stage.carrier.run_once()).launched == 2

    run(scenario)


def test_stopping_waits_for_the_last_confirm_and_for_the_cursor_to_pass_it() -> None:
    async def scenario() -> None:
        stage = Stage(*pages_of_two(2), window=2)
        running = asyncio.create_task(stage.carrier.run())
        while len(stage.published) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        stage.carrier.stop()
        while not stage.carrier._flight._moved._waiters:  # noqa: ASYNC110 - the loop waits for the broker
            await asyncio.sleep(0)
        assert not running.done()
        stage.confirm(*stage.published)
        await running
        assert stage.reader.advanced == [1]
        assert len(stage.published) == 2

    run(scenario)


def test_an_idle_carrier_stops_at_once() -> None:
    async def scenario() -> None:
        stage = Stage()
        running = asyncio.create_task(stage.carrier.run())
        stage.carrier.stop()
        await running

    run(scenario)


def test_a_lost_broker_ends_the_loop_with_its_reason() -> None:
    async def scenario() -> None:
        stage = Stage(*pages_of_two(1))
        lost: Any = stage.carrier.publisher.lost
        lost.set_result("connection closed: bye")
        with pytest.raises(PublisherLostError, match="bye"):
            await stage.carrier.run()
        assert stage.published == []

    run(scenario)
