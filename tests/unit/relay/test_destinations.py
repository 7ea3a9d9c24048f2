"""When publishing is held for the sake of a queue, and when it goes on."""

import asyncio
from unittest.mock import AsyncMock, Mock

from relay.housekeeping import Destinations


def held_after(looks: list[tuple[list[str], list[str]]]) -> list[bool]:
    """Whether publishing goes on after each look, which finds (required, missing) queues."""

    async def main() -> list[bool]:
        database = Mock(fetch=AsyncMock(side_effect=[[{"queue": name} for name in queues] for queues, _ in looks]))
        broker = Mock(missing=AsyncMock(side_effect=[missing for _, missing in looks]))
        goes_on: list[bool] = []
        destinations = Destinations(database, broker, goes_on.append)
        for _ in looks:
            await destinations.check()
        return goes_on

    return asyncio.run(main())


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
