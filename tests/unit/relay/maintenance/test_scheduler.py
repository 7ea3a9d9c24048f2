"""From where the scheduler scans, and how often it rescans."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from unittest.mock import patch

import pytest
from asyncpg import InterfaceError, LockNotAvailableError, QueryCanceledError
from structlog.testing import capture_logs

from outbox.due_messages import DuePosition
from outbox.missing_partition import NoSegmentError
from relay.maintenance.scheduler import BATCH, POSTPONED_SECONDS, RECENT, REST, Mover, move_due_rows
from tests.support.probes.database import Asyncpg

START = DuePosition(datetime(2026, 3, 1, 12, 0, tzinfo=UTC), 0)
HOUR = timedelta(hours=1)


class Database:
    """Answers scans from `due`; keeps the (after, before) of each, and lets time pass with it."""

    def __init__(self, clock: "Clock", seconds: float) -> None:
        self.due: list[tuple[int, DuePosition]] = []
        self.checks: list[tuple[DuePosition | None, DuePosition | None]] = []
        self._clock = clock
        self._seconds = seconds

    async def fetchrow(self, _: str, *args: Any) -> dict[str, Any] | None:
        after, before = ((None if at is None else DuePosition(at, row)) for at, row in (args[:2], args[2:4]))
        self.checks.append((after, before))
        self._clock.now += self._seconds
        if not self.due:
            return None
        rows, last = self.due.pop(0)
        return {"rows": rows, "due_at": last.due_at, "id": last.id}


class Clock:
    now = 100.0


class Stage:
    """A mover between two databases, on a clock that advances with each scan."""

    def __init__(self, scan_seconds: float) -> None:
        self.clock = Clock()
        self.onward, self.back = Database(self.clock, scan_seconds), Database(self.clock, scan_seconds)
        self.mover = Mover(cast("Asyncpg", self.onward), cast("Asyncpg", self.back), START)
        self.mover._loop = cast("Any", self)

    def time(self) -> float:
        return self.clock.now


def reached(hours: int) -> DuePosition:
    return DuePosition(START.due_at + hours * HOUR, hours)


async def test_a_turn_continues_from_the_last_row_moved_and_starts_anew_seldom() -> None:
    stage = Stage(scan_seconds=0.01)
    stage.onward.due = [(BATCH, reached(hours)) for hours in (1, 2, 3)]
    for _ in range(3):
        assert await stage.mover.move() == BATCH
    stage.clock.now += REST * 0.01
    assert await stage.mover.move() == 0
    assert [after for after, _ in stage.onward.checks] == [
        DuePosition(START.due_at - RECENT, 0),
        reached(1),
        reached(2),
        DuePosition(reached(3).due_at - RECENT, 0),
    ]


async def test_rows_committed_late_do_not_take_the_mover_back() -> None:
    stage = Stage(scan_seconds=0.01)
    stage.onward.due = [(1, reached(2)), (1, reached(1))]
    await stage.mover.move()
    await stage.mover.move()
    await stage.mover.move()
    assert stage.onward.checks[-1] == (reached(2), None)
    await stage.mover.move_late()
    assert stage.back.checks == [(None, reached(2))]


@pytest.mark.parametrize(("scan_seconds", "pause"), [(0.001, 0.5), (0.3, REST * 0.3)])
async def test_a_scan_from_the_beginning_rests_in_proportion_to_what_it_took(scan_seconds: float, pause: float) -> None:
    stage = Stage(scan_seconds)
    stage.back.due = [(BATCH, reached(0))]
    with patch("relay.maintenance.scheduler.asyncio.sleep", side_effect=asyncio.CancelledError) as sleep:
        with pytest.raises(asyncio.CancelledError):
            await stage.mover.keep_moving_late()
        assert len(stage.back.checks) == 2  # a full batch is followed by another at once
        assert sleep.call_args.args[0] == pytest.approx(pause)


class Refusing:
    """A database that refuses this statement, then knows nothing that is due, then is gone."""

    def __init__(self, error: Exception, refused: str) -> None:
        self._errors: dict[str, list[Exception]] = {"start": [], "move": []}
        self._errors[refused].append(error)
        self._answers = {"start": iter([START.due_at]), "move": iter([None])}

    async def fetchval(self, *_: object) -> datetime:
        return cast("datetime", self._answer("start"))

    async def fetchrow(self, *_: object) -> None:
        assert self._answer("move") is None

    def _answer(self, statement: str) -> object:
        if self._errors[statement]:
            raise self._errors[statement].pop()
        try:
            return next(self._answers[statement])
        except StopIteration:
            raise InterfaceError("connection is closed") from None


@pytest.mark.parametrize("refused", ["start", "move"])
@pytest.mark.parametrize(
    "error",
    [NoSegmentError("no segment"), LockNotAvailableError("lock"), QueryCanceledError("limit"), TimeoutError()],
    ids=lambda error: type(error).__name__,
)
async def test_what_passes_is_waited_for_and_what_ends_the_connection_is_raised(error: Exception, refused: str) -> None:
    onward, back = Refusing(error, refused), Refusing(error, "move")
    rested: list[float] = []

    async def rest(seconds: float) -> None:
        rested.append(seconds)

    with (
        patch("relay.maintenance.scheduler.asyncio.sleep", rest),
        capture_logs() as logs,
        pytest.raises(ExceptionGroup) as ended,
    ):
        await move_due_rows(cast("Asyncpg", onward), cast("Asyncpg", back))
    assert ended.group_contains(InterfaceError)
    postponed = [entry["error"] for entry in logs if entry["event"] == "due_rows_postponed"]
    assert postponed
    assert all(type(error).__name__ in reason for reason in postponed)
    assert rested[0] == POSTPONED_SECONDS
    assert len(rested) > len(postponed)  # and then it paused between two scans
