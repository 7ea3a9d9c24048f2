"""Recovery ends, even if something moves for ever."""

from dataclasses import replace
from itertools import count
from typing import cast

import pytest

from lab.prove import recovery
from lab.prove.parameters import quick
from lab.prove.recovery import Remaining, recover
from lab.prove.system_under_test import SystemUnderTest

NOTHING = Remaining(unfinished=0, in_delivery=0, scheduled=0, not_audited=0, open_dead_letters=0, done=0, events=0)


class DeadLetters:
    """The one query that recovery asks the system itself: how many dead letters there are."""

    async def patient_query(self, _: str) -> list[tuple[int]]:
        return [(7,)]


async def nothing_to_heal(_: SystemUnderTest) -> None:
    """Every program runs."""


@pytest.fixture(autouse=True)
def healed_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "stop_faults", nothing_to_heal)


async def recovered(healing_seconds: float) -> tuple[int, list[str]]:
    printed: list[str] = []
    parameters = replace(quick(1), recovery_seconds=healing_seconds)
    found = await recover(cast("SystemUnderTest", DeadLetters()), parameters, printed.append)
    return found.dead_letters, printed


async def test_it_ends_at_its_time_though_something_still_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = count()

    async def one_more_round(_: SystemUnderTest) -> Remaining:
        return replace(NOTHING, in_delivery=1, done=next(rounds))

    monkeypatch.setattr(recovery, "read_remaining", one_more_round)

    dead_letters, printed = await recovered(0.05)

    assert dead_letters == 7
    assert printed[-1] == "not everything was settled within 0.05 s; what is left is unfinished"


async def test_it_ends_at_once_if_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def quiet(_: SystemUnderTest) -> Remaining:
        return NOTHING

    monkeypatch.setattr(recovery, "read_remaining", quiet)

    assert await recovered(60) == (7, [])


async def test_another_time_out_is_not_mistaken_for_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(_: SystemUnderTest) -> Remaining:
        raise TimeoutError("of a library")

    monkeypatch.setattr(recovery, "read_remaining", breaks)

    with pytest.raises(TimeoutError, match="of a library"):
        await recovered(60)
