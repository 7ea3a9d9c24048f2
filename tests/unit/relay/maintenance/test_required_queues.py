"""When publishing is held because of a queue, and when it continues."""

import asyncio
from unittest.mock import AsyncMock, Mock

import pytest

from relay.maintenance.required_queues import QueuesMissingError, RequiredQueues


class Stream:
    """The calls that a pipeline receives. `open_events` are those that the cursor has not advanced past."""

    def __init__(self, open_events: int) -> None:
        self.open_events = open_events
        self.check_wanted = asyncio.Event()
        self.publishing: list[bool] = []
        self.complete_checks = 0

    def hold(self, *, publishing: bool) -> None:
        self.publishing.append(publishing)

    def queues_checked(self, began: float) -> None:
        assert began <= asyncio.get_running_loop().time()
        self.complete_checks += 1


async def stream_after(
    checks: list[tuple[list[str], list[str]]], open_events: int = 0, *, complete: bool = True
) -> Stream:
    """A stream after checks that found these (required, missing) queues."""

    stream = Stream(open_events)
    database = Mock(fetch=AsyncMock(side_effect=[[{"queue": name} for name in queues] for queues, _ in checks]))
    broker = Mock(missing=AsyncMock(side_effect=[missing for _, missing in checks]))
    required_queues = RequiredQueues(database, broker, stream, complete=complete)
    for _ in checks:
        await required_queues.check()
    return stream


async def held_after(checks: list[tuple[list[str], list[str]]]) -> list[bool]:
    """Whether publishing continues after each check."""
    return (await stream_after(checks)).publishing


async def test_with_every_queue_there_publishing_continues_from_the_first_check() -> None:
    assert await held_after([(["a", "b"], [])]) == [True]


async def test_a_missing_queue_holds_publishing_at_once_and_until_the_second_check_that_finds_it() -> None:
    assert await held_after([(["a"], []), (["a"], ["a"]), (["a"], []), (["a"], []), (["a"], [])]) == [
        True,
        False,
        False,
        True,
        True,
    ]


async def test_one_of_two_missing_queues_is_not_enough() -> None:
    assert await held_after([(["a", "b"], ["a", "b"]), (["a", "b"], ["b"]), (["a", "b"], ["b"])]) == [False] * 3


async def test_a_queue_that_comes_and_goes_does_not_count() -> None:
    assert await held_after([(["a"], ["a"]), (["a"], []), (["a"], ["a"]), (["a"], [])]) == [False] * 4


async def test_without_any_required_queue_nothing_is_published() -> None:
    assert await held_after([([], []), ([], [])]) == [False, False]


async def test_the_cursor_learns_of_checks_that_find_every_queue_and_of_no_others() -> None:
    assert (await stream_after([(["a"], []), (["a"], ["a"]), ([], []), (["a"], [])])).complete_checks == 2


async def test_a_queue_missing_under_events_that_the_cursor_has_not_advanced_past_ends_the_session() -> None:
    with pytest.raises(QueuesMissingError, match=r"went missing under events on their way: \['a'\]"):
        await stream_after([(["a", "b"], []), (["a", "b"], ["a"])], open_events=1)


async def test_a_queue_that_stays_missing_ends_no_session() -> None:
    assert (await stream_after([(["a"], ["a"]), (["a"], ["a"])])).publishing == [False, False]


async def test_after_a_term_that_missed_a_queue_the_first_check_that_finds_it_is_not_enough() -> None:
    assert (await stream_after([(["a"], []), (["a"], [])], complete=False)).publishing == [False, True]
