"""A writer as a process: one event a transaction, RATE a second.

Started as `python -m lab.bench.processes.writer RATE SECONDS FILE`.

Transactions begin at random moments (a Poisson process), as requests do, on the product's engine, and each commit is
followed by a hint, as in the API. The time at which each COMMIT returned is written to FILE.
"""

import asyncio
import random
import sys
from pathlib import Path
from time import monotonic

import uvloop
from sqlalchemy.ext.asyncio import AsyncEngine

from lab.bench.messages import new_events
from lab.bench.observations import Observations, write
from outbox.envelope import Event
from outbox.notify import Hint
from outbox.record import record
from runtime.database import make_engine
from runtime.settings import load_settings


async def write_events(rate: float, seconds: float) -> Observations:
    """Commit rate * seconds events; `confirmed` of the result holds when each commit returned."""
    settings = load_settings()
    engine, hint = make_engine(settings, "waybill-bench-writer"), Hint(settings.database_url)
    hint.open()
    committed: dict[str, float] = {}
    moment = monotonic()
    rng = random.Random(1)  # noqa: S311 - arrivals, not secrets
    async with asyncio.TaskGroup() as group:
        for event in new_events(round(rate * seconds)):
            moment += rng.expovariate(rate)
            await asyncio.sleep(max(0.0, moment - monotonic()))
            group.create_task(_commit(engine, hint, event, committed))
    await hint.close()
    await engine.dispose()
    return Observations(confirmed=committed)


async def _commit(engine: AsyncEngine, hint: Hint, event: Event, committed: dict[str, float]) -> None:
    async with engine.begin() as tx:
        await record(tx, [event])
    committed[str(event.id)] = monotonic()
    hint.give()


def main() -> None:
    """Write the events, then the times of their commits."""
    rate, seconds, path = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        write(Path(path), runner.run(write_events(float(rate), float(seconds))))


if __name__ == "__main__":
    main()
