"""Pauses that grow, pauses that a stop ends, and the loop around `run_once`."""

import asyncio
import time

import pytest

from runtime.loops import Backoff, keep_running, sleep_until


def test_a_growing_pause_doubles_up_to_the_longest_and_starts_again_after_a_reset() -> None:
    backoff = Backoff(0.5, 3.0)
    assert [backoff.next() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    backoff.reset()
    assert backoff.next() == 0.5


async def test_a_sleep_ends_with_its_event() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)
    before = time.monotonic()
    assert await sleep_until(event, 60)
    assert time.monotonic() - before < 30


async def test_a_sleep_ends_with_its_time() -> None:
    assert not await sleep_until(asyncio.Event(), 0.001)


async def test_a_loop_runs_until_it_is_stopped_and_finishes_the_run_that_was_under_way() -> None:
    stopping, runs = asyncio.Event(), 0

    async def run_once() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            stopping.set()

    await keep_running(run_once, 0.0, stopping)
    assert runs == 3


async def test_an_error_of_a_run_ends_the_loop() -> None:
    async def run_once() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await keep_running(run_once, 0.0, asyncio.Event())
