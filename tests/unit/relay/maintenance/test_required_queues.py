"""When publishing is held for the sake of a queue, and when it goes on."""

import asyncio
from unittest.mock import AsyncMock, Mock

import pytest

from relay.maintenance.partitions import Destinations, QueuesMissingError


class Stream:
    """What a carrier is told. `open_events` are those that the cursor has not passed."""

    def __init__(self, open_events: int) -> None:
        self.open_events = open_events
        self.wants_look = asyncio.Event()
        self.goes_on: list[bool] = []
        self.good_looks = 0

    def hold(self, *, publishing: bool) -> None:
        self.goes_on.append(publishing)

    def looked(self, began: float) -> None:
        assert began <= asyncio.get_running_loop().time()
        self.good_looks += 1


def stream_after(looks: list[tuple[list[str], list[str]]], open_events: int = 0, *, complete: bool = True) -> Stream:
    """What a carrier was told by looks that find (required, missing) queues."""

    async def main() -> Stream:
        stream = Stream(open_events)
        database = Mock(fetch=AsyncMock(side_effect=[[{"queue": name} for name in queues] for queues, _ in looks]))
        broker = Mock(missing=AsyncMock(side_effect=[missing for _, missing in looks]))
        destinations = Destinations(database, broker, stream, complete=complete)
        for _ in looks:
            await destinations.check()
        return stream

    return asyncio.run(main())


def held_after(looks: list[tuple[list[str], list[str]]]) -> list[bool]:
    """Whether publishing goes on after each look."""
    return stream_after(looks).goes_on


def test_with_every_queue_there_publishing_goes_on_from_the_first_look() -> None:
    assert held_after([(["a", "b"], [])]) == [True]


def test_a_missing_queue_holds_publishing_at_once_and_until_the_second_look_that_finds_it() -> None:
    assert held_after([(["a"], []), (["a"], ["a"]), (["a"], []), (["a"], []), (["a"], [])]) == [
        True,
        False,
        False,
        True,
        True,
    ]


def test_one_of_two_missing_queues_is_not_enough() -> None:
    assert held_after([(["a", "b"], ["a", "b"]), (["a", "b"], ["b"]), (["a", "b"], ["b"])]) == [False] * 3


def test_a_queue_that_comes_and_goes_does_not_count() -> None:
    assert held_after([(["a"], ["a"]), (["a"], []), (["a"], ["a"]), (["a"], [])]) == [False] * 4


def test_without_any_required_queue_nothing_is_published() -> None:
    assert held_after([([], []), ([], [])]) == [False, False]


def test_the_cursor_learns_of_looks_that_find_every_queue_and_of_no_others() -> None:
    assert stream_after([(["a"], []), (["a"], ["a"]), ([], []), (["a"], [])]).good_looks == 2


def test_a_queue_missing_under_events_that_the_cursor_has_not_passed_ends_the_session() -> None:
    with pytest.raises(QueuesMissingError, match=r"went missing under events on their way: \['a'\]"):
        stream_after([(["a", "b"], []), (["a", "b"], ["a"])], open_events=1)


def test_a_queue_that_stays_missing_ends_no_session() -> None:
    assert stream_after([(["a"], ["a"]), (["a"], ["a"])]).goes_on == [False, False]


def test_after_a_reign_that_missed_a_queue_the_first_look_that_finds_it_is_not_enough() -> None:
    assert stream_after([(["a"], []), (["a"], [])], complete=False).goes_on == [False, True]
