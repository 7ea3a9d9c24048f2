"""When a leader renews and when its trust window ends, on a clock of the test's own."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

import pytest

from relay.leadership import RENEW_AFTER, TRUST_FOR, Leadership, RenewalError

if TYPE_CHECKING:
    from asyncpg import Connection, Record

LEASE_SECONDS = 3.0


class Clock(selectors.SelectSelector):
    """Instead of waiting, the loop's clock moves on."""

    now = 100.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing will ever happen again"
        self.now += max(timeout, 0.0)
        return super().select(0)


class Postgres:
    """Grants the lease at once; renewals take as long as listed, the last for ever. `asked` is when each was asked."""

    def __init__(self, clock: Clock, *renewals: float) -> None:
        self._clock = clock
        self._takes = [0.0, *renewals, 1e9]
        self.asked: list[float] = []

    async def add_listener(self, *_: object) -> None:
        pass

    async def remove_listener(self, *_: object) -> None:
        pass

    async def fetchrow(self, *_: object, **__: object) -> None:
        pass

    async def fetchval(self, *_: object, **__: object) -> int:
        self.asked.append(self._clock.now)
        await asyncio.sleep(self._takes.pop(0))
        return 1


def term(*renewals: float, meanwhile: Callable[[Clock], Awaitable[None]] | None = None) -> tuple[list[float], float]:
    """The moments of the acquisition, of each renewal and of the term's end, in leases since the acquisition."""
    clock = Clock()

    def loop() -> asyncio.AbstractEventLoop:
        made = asyncio.SelectorEventLoop(clock)
        cast("Any", made).time = lambda: clock.now
        return made

    async def scenario() -> tuple[list[float], float]:
        postgres = Postgres(clock, *(share * LEASE_SECONDS for share in renewals))
        leadership = Leadership(cast("Connection[Record]", postgres), LEASE_SECONDS, "it")
        assert await leadership.wait_to_lead(asyncio.Event()) == 1
        beside = asyncio.ensure_future(meanwhile(clock)) if meanwhile else None
        with pytest.raises(RenewalError):
            await leadership.keep(1)
        if beside:
            await beside
        start = postgres.asked[0]
        return [(moment - start) / LEASE_SECONDS for moment in postgres.asked], (clock.now - start) / LEASE_SECONDS

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(scenario())


def test_a_term_ends_within_its_share_of_the_lease_since_the_last_renewal_that_was_granted() -> None:
    asked, end = term(0.0, 0.0)
    assert asked == pytest.approx([0, RENEW_AFTER, 2 * RENEW_AFTER, 3 * RENEW_AFTER], abs=0.001)
    assert end == pytest.approx(asked[2] + TRUST_FOR, abs=0.001)


@pytest.mark.parametrize("slow", [0.2, 0.3, 0.4, 0.46])
def test_however_long_the_renewal_before_took_the_term_ends_before_its_lease_does(slow: float) -> None:
    asked, end = term(slow)
    assert asked == pytest.approx([0, RENEW_AFTER, RENEW_AFTER + max(RENEW_AFTER, slow)], abs=0.001)
    assert end == pytest.approx(asked[1] + TRUST_FOR, abs=0.001)


def test_a_process_that_slept_through_its_lease_asks_whether_it_leads_and_continues_if_it_does() -> None:
    async def sleep_through(clock: Clock) -> None:
        clock.now += 5 * LEASE_SECONDS

    asked, end = term(0.3, meanwhile=sleep_through)
    assert asked == pytest.approx([0, 5, 5 + RENEW_AFTER], abs=0.001)
    assert end == pytest.approx(5 + TRUST_FOR, abs=0.001)
