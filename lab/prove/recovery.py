"""Recovery after the faults: turns every fault off, replays dead letters, and waits until nothing is left to do.

Dead letters of garbage are discarded, since no step can read them. All others are replayed through the command line, as
an operator would, and again when they die again, within bounds. Recovery ends when nothing is left to do, when nothing
moves any more, or when its time is over; the judge finds whatever is unfinished then.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.prove.faults.garbage import MARK
from lab.prove.faults.message import ready
from lab.prove.parameters import Parameters
from lab.prove.recorder import QUEUE as RECORDER_QUEUE
from lab.prove.system_under_test import SystemUnderTest
from lab.sandbox.sap.faults import NO_FAULTS
from lab.stack.commands import COMMAND_SECONDS, run_command
from lab.stack.errors import StackError
from orders.workflow import STEPS, UNROUTED_QUEUE

POLL_SECONDS = 0.5
REPORT_SECONDS = 3.0
MOST_REPLAYS = 5  # of one dead letter: a message that dies this often has not recovered
QUEUES = (*(queue for step in STEPS for queue in (step.queue, step.dead_letter_queue)), UNROUTED_QUEUE, RECORDER_QUEUE)

# All work that is left, as far as Postgres knows it.
_REMAINING = """
SELECT (SELECT count(*) FROM orders WHERE status NOT IN ('completed', 'rejected'))::int AS unfinished,
       (SELECT count(*) FROM outbox.deliveries WHERE state IN ('running', 'retrying'))::int AS in_delivery,
       (SELECT count(*) FROM outbox.scheduled)::int AS scheduled,
       (SELECT count(*) FROM outbox.events e WHERE destination IS NULL
          AND NOT EXISTS (SELECT FROM audit_log a WHERE a.event_id = e.event_id))::int AS not_audited,
       (SELECT count(*) FROM outbox.dead_letters WHERE state = 'open')::int AS open_dead_letters,
       (SELECT count(*) FROM outbox.deliveries WHERE state = 'done')::int AS done,
       (SELECT count(*) FROM outbox.events WHERE destination IS NULL)::int AS events"""

# $1 the mark of garbage.
_OPEN = """
SELECT id, replay_count, position(convert_to($1, 'UTF8') IN body) > 0 AS garbage
FROM outbox.dead_letters WHERE state = 'open' ORDER BY id"""

_DEAD_LETTERS = "SELECT count(*)::int FROM outbox.dead_letters"


@dataclass(frozen=True, slots=True)
class Remaining:
    """The work that is left. `done` and `events` are no work: their growth shows that something moves."""

    unfinished: int
    in_delivery: int
    scheduled: int
    not_audited: int
    open_dead_letters: int
    done: int
    events: int
    ready: int = 0
    not_arrived: int = 0

    @property
    def quiet(self) -> bool:
        """Whether nothing is left."""
        return not (self.open_dead_letters or self.unfinished or self.underway)

    @property
    def underway(self) -> int:
        """Messages that are not settled yet, with the events that have not arrived at the recorder."""
        return self.in_delivery + self.scheduled + self.not_audited + self.ready + self.not_arrived

    def __str__(self) -> str:
        return (
            f"{self.unfinished} orders unfinished, {self.in_delivery} deliveries running or retrying, "
            f"{self.scheduled} scheduled, "
            f"{self.ready} in queues, {self.not_audited} not audited, {self.open_dead_letters} dead letters open"
        )


@dataclass(slots=True)
class Recovered:
    """What recovery did. `dead_letters` counts those in the table, `refused` holds why some were not replayed."""

    dead_letters: int = 0
    replayed: int = 0
    discarded: int = 0
    refused: list[str] = field(default_factory=list)


async def recover(system: SystemUnderTest, parameters: Parameters, say: Callable[[str], None]) -> Recovered:
    """Turn the faults off and settle, within `recovery_seconds`. `say` is called with the progress."""
    recovered = Recovered()
    limit = asyncio.timeout(parameters.recovery_seconds)
    try:
        async with limit:
            await stop_faults(system)
            await settle(system, parameters.patience, recovered, say)
    except TimeoutError:
        if not limit.expired():
            raise
        say(f"not everything was settled within {parameters.recovery_seconds:g} s; what is left is unfinished")
    recovered.dead_letters = (await system.patient_query(_DEAD_LETTERS))[0][0]
    return recovered


async def stop_faults(system: SystemUnderTest) -> None:
    """Turn every fault off and wait until every program runs. Raises StackError when one does not come back."""
    system.proxies.release_answers()
    await system.until_answered(lambda: _turned_off(system))
    deadline = time.monotonic() + COMMAND_SECONDS
    while down := [state.name for state in await asyncio.to_thread(system.stack.states) if state.state != "RUNNING"]:
        if time.monotonic() > deadline:
            raise StackError(f"{', '.join(down)} did not come back within {COMMAND_SECONDS} s")
        await asyncio.sleep(POLL_SECONDS)


async def _turned_off(system: SystemUnderTest) -> bool:
    await system.set_sap_faults(**NO_FAULTS)
    await system.refuse_emails()
    return True


async def settle(system: SystemUnderTest, patience: float, recovered: Recovered, say: Callable[[str], None]) -> None:
    """Replay until nothing is left, or nothing has moved for `patience` seconds. Counts in `recovered`."""
    moved, reported, before = time.monotonic(), 0.0, None
    while True:
        left = await read_remaining(system)
        if left.quiet:
            break
        if left != before:
            moved, before = time.monotonic(), left
            if moved - reported > REPORT_SECONDS:
                reported = moved
                say(str(left))
        if left.open_dead_letters and await _deal_with_dead_letters(system, recovered):
            moved = time.monotonic()
        elif time.monotonic() - moved > patience:
            break
        await asyncio.sleep(POLL_SECONDS)


async def read_remaining(system: SystemUnderTest) -> Remaining:
    """The work that is left now."""
    row = (await system.patient_query(_REMAINING))[0]
    waiting = sum((await ready(system, QUEUES)).values())
    return Remaining(**row, ready=waiting, not_arrived=max(row["events"] - len(system.arrived), 0))


async def _deal_with_dead_letters(system: SystemUnderTest, recovered: Recovered) -> bool:
    """Discard the garbage and replay the rest; returns whether anything was done."""
    dead_letters = await system.patient_query(_OPEN, MARK)
    garbage = [dead_letter["id"] for dead_letter in dead_letters if dead_letter["garbage"]]
    others = [
        dead_letter["id"]
        for dead_letter in dead_letters
        if not dead_letter["garbage"] and dead_letter["replay_count"] < MOST_REPLAYS
    ]
    done = 0
    if garbage:
        figures = await _dead_letters(system, "discard", _ids(garbage), "garbage that the proof put there")
        done += figures["discarded"]
        recovered.discarded += figures["discarded"]
    if others:
        figures = await _dead_letters(system, "replay", _ids(others), "the fault that killed the delivery is over")
        done += figures["replayed"]
        recovered.replayed += figures["replayed"]
        recovered.refused += [f"dead letter {one['dead_letter']}: {one['why']}" for one in figures["refused"]]
    return done > 0


def _ids(dead_letters: Sequence[int]) -> list[str]:
    return [word for dead_letter in dead_letters for word in ("--id", str(dead_letter))]


async def _dead_letters(system: SystemUnderTest, action: str, which: Sequence[str], why: str) -> dict[str, Any]:
    """The figures that `waybill dead-letters <action> --json` prints. Raises StackError when it fails."""
    words = ("dead-letters", action, *which, "--by", "prove", "--why", why, "--json")
    printed = await asyncio.to_thread(run_command, words, system.stack.environment())
    figures: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
    return figures
