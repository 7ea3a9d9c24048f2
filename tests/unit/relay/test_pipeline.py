"""The pipeline's loops: what they read, when they advance the cursor, what stopping waits for."""

import asyncio
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, cast
from unittest.mock import Mock

import pytest
from asyncpg import Connection, Record

from outbox.cursor.reader import Page, Reader, Row
from relay.pipeline import Pipeline
from relay.publisher import Outcome, PublisherLostError
from runtime.settings import Settings
from tests.support.builders.events import a_page, a_row


class Pages:
    """A reader of prepared pages."""

    def __init__(self, *pages: Page) -> None:
        self.pages = list(pages)
        self.polls = 0

    async def next_page(self) -> Page | None:
        self.polls += 1
        return self.pages.pop(0) if self.pages else None


class Stage:
    """A pipeline between prepared pages and a broker that answers on command.

    `advanced` has the first ids of finished pages.
    """

    def __init__(
        self, *pages: Page, page_size: int = 2, window: int = 4, open_events: int = 100, idle: float = 0.001
    ) -> None:
        settings = Settings(
            database_url="postgresql://nowhere/x",
            amqp_url="amqp://nowhere/",
            relay_page_size=page_size,
            relay_window=window,
            relay_open_events=open_events,
            relay_idle_poll_seconds=idle,
        )
        self.reader = Pages(*pages)
        self.advanced: list[int] = []
        self.pipeline = Pipeline(settings, cast("Reader", self.reader), cast("Connection[Record]", self), epoch=1)
        self.published: list[Row] = []
        self.pipeline.publisher._channel = Mock(is_open=True)
        self.pipeline.publisher.publish = self.publish  # type: ignore[method-assign]

    def publish(self, rows: Sequence[Row]) -> list[tuple[Row, str]]:
        self.published += rows
        return []

    async def fetch(
        self, _statement: str, _epoch: int, _old: object, _new: object, firsts: list[int], *_: object
    ) -> Any:
        """What the cursor's connection is asked for: the log of pages."""
        await asyncio.sleep(0)  # the database answers in a later turn of the loop
        self.advanced += firsts
        return [{"page": len(self.advanced)}]

    def confirm(self, *rows: Row) -> None:
        self.pipeline._on_settled(rows, Outcome.CONFIRMED)
        self.pipeline.queues_checked(inf)  # all queues are there, now and later

    async def publish_all(self) -> None:
        while self.pipeline._window.has_room and await self.pipeline.publish_page():
            pass


def pages_of_two(count: int) -> list[Page]:
    return [a_page([a_row(2 * n + 1, f"a{n}"), a_row(2 * n + 2, f"b{n}")]) for n in range(count)]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the loop under test is what is waited for
        await asyncio.sleep(0)


async def test_the_cursor_moves_only_past_a_page_whose_every_event_is_confirmed() -> None:
    stage = Stage(*pages_of_two(1))
    assert await stage.pipeline.publish_page() == 2
    assert await stage.pipeline.advance() == 0
    stage.confirm(stage.published[0])
    assert await stage.pipeline.advance() == 0
    assert stage.advanced == []
    stage.confirm(stage.published[1])
    assert await stage.pipeline.advance() == 2
    assert stage.advanced == [1]
    assert await stage.pipeline.publish_page() == 0


async def test_pages_that_were_confirmed_meanwhile_are_passed_in_one_statement() -> None:
    stage = Stage(*pages_of_two(3), window=10)
    await stage.publish_all()
    stage.confirm(*stage.published)
    assert await stage.pipeline.advance() == 6
    assert stage.advanced == [1, 3, 5]


async def test_pages_are_read_ahead_until_a_window_waits() -> None:
    stage = Stage(*pages_of_two(4), page_size=2, window=3)
    await stage.publish_all()
    assert [row.id for row in stage.published] == [1, 2, 3]  # 4 is read, and waits for room in the window
    assert stage.pipeline._window.unsettled == 4
    stage.confirm(*stage.published[:2])
    assert [row.id for row in stage.published] == [1, 2, 3, 4]
    await stage.publish_all()
    assert [row.id for row in stage.published] == [1, 2, 3, 4, 5]


async def test_a_window_smaller_than_a_page_still_carries() -> None:
    rows = [a_row(number, f"s{number}") for number in range(1, 6)]
    stage = Stage(a_page(rows), page_size=5, window=2)
    await stage.publish_all()
    assert [row.id for row in stage.published] == [1, 2]
    for number in range(5):
        stage.confirm(stage.published[number])
    assert await stage.pipeline.advance() == 5


async def test_while_held_nothing_is_taken_on_and_what_is_in_flight_is_still_settled() -> None:
    stage = Stage(*pages_of_two(2), window=2)
    running = asyncio.create_task(stage.pipeline.run())
    await until(lambda: len(stage.published) == 2)
    stage.pipeline.hold(publishing=False)
    stage.confirm(*stage.published)
    await until(lambda: stage.advanced == [1])
    assert len(stage.published) == 2
    stage.pipeline.hold(publishing=True)
    await until(lambda: len(stage.published) == 4)
    stage.confirm(*stage.published[2:])
    stage.pipeline.stop()
    await running
    assert stage.advanced == [1, 3]


async def test_the_cursor_waits_for_a_check_of_the_queues_that_began_after_the_last_confirm() -> None:
    stage = Stage(*pages_of_two(1))
    await stage.pipeline.publish_page()
    stage.pipeline.queues_checked(asyncio.get_running_loop().time())
    stage.pipeline._on_settled(stage.published, Outcome.CONFIRMED)
    assert stage.pipeline.check_wanted.is_set()
    assert await stage.pipeline.advance() == 0
    await asyncio.sleep(0.001)
    stage.pipeline.queues_checked(asyncio.get_running_loop().time())
    assert await stage.pipeline.advance() == 2


async def test_stopping_waits_for_nothing_that_the_broker_refuses() -> None:
    stage = Stage(*pages_of_two(1))
    running = asyncio.create_task(stage.pipeline.run())
    await until(lambda: len(stage.published) == 2)
    stage.confirm(stage.published[0])
    stage.pipeline._on_settled(stage.published[1:], Outcome.NACKED)
    stage.pipeline.stop()
    await running
    assert stage.advanced == []


async def test_a_pipeline_that_has_ended_publishes_nothing_more() -> None:
    rows = [a_row(1, "a"), a_row(2, "a")]
    stage = Stage(a_page(rows))
    running = asyncio.create_task(stage.pipeline.run())
    await until(lambda: len(stage.published) == 1)
    running.cancel()
    await asyncio.wait({running})
    stage.confirm(rows[0])
    assert stage.published == rows[:1]


HINTS = 25  # each pause is twice the one before, up to ten seconds: the last ten are of ten seconds


async def hint(stage: Stage) -> None:
    for _ in range(HINTS):
        polls = stage.reader.polls
        stage.pipeline.wake()
        await until(lambda polls=polls: stage.reader.polls > polls)  # type: ignore[misc]


async def test_a_hint_ends_the_pause_between_polls() -> None:
    stage = Stage(idle=10)
    running = asyncio.create_task(stage.pipeline.run())
    async with asyncio.timeout(60):
        await hint(stage)
    stage.pipeline.stop()
    await running
    assert stage.reader.polls >= HINTS


async def test_stopping_waits_for_the_last_confirm_and_for_the_cursor_to_pass_it() -> None:
    stage = Stage(*pages_of_two(2), window=2)
    running = asyncio.create_task(stage.pipeline.run())
    await until(lambda: len(stage.published) == 2)
    stage.pipeline.stop()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not running.done()
    stage.confirm(*stage.published)
    await running
    assert stage.advanced == [1]
    assert len(stage.published) == 2


async def test_an_idle_pipeline_stops_at_once() -> None:
    stage = Stage(idle=10)
    running = asyncio.create_task(stage.pipeline.run())
    await hint(stage)
    stage.pipeline.stop()
    async with asyncio.timeout(5):  # half the pause that it has begun
        await running
    assert (stage.published, stage.advanced) == ([], [])


async def test_a_lost_broker_ends_the_loop_with_its_reason() -> None:
    stage = Stage(*pages_of_two(1))
    lost: Any = stage.pipeline.publisher.lost
    lost.set_result("connection closed: bye")
    with pytest.raises(ExceptionGroup) as ended:
        await stage.pipeline.run()
    assert ended.group_contains(PublisherLostError, match="bye")
    assert stage.published == []
