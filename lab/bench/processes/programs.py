"""Starts the measured processes: the relay as in production or observed, and the writer of events."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lab.bench.errors import BenchError
from lab.bench.ground import Ground
from lab.bench.outbox import Database, cursor_reached
from lab.stack.commands import ROOT
from lab.stack.program import Child, Program
from runtime.settings import Settings

RELAY = "relay"
OBSERVED_RELAY = "lab.bench.processes.observed_relay"
STOP_SECONDS = 30.0
PATIENCE_SECONDS = 300.0
POLL_SECONDS = 0.02


@contextmanager
def running(ground: Ground, settings: Settings, module: str, *words: str) -> Iterator[Child]:
    """`python -m module words` on these servers; its other settings are those of the caller's environment.

    Stopped by SIGTERM afterwards, also after an error.
    """
    program = Program(
        name=module,
        command=(sys.executable, "-m", module, *words),
        log=ground.instance.logs / f"{module}.log",
        environment={
            "DATABASE_URL": settings.database_url,
            "AMQP_URL": settings.amqp_url,
            "EVENT_EXCHANGE": settings.event_exchange,
            "PYTHONPATH": str(ROOT),
        },
        stop_seconds=STOP_SECONDS,
    )
    child = Child(program, ground.instance.mark)
    try:
        yield child
    finally:
        child.stop()


async def until_confirmed(database: Database, child: Child, last_id: int) -> None:
    """Return once the cursor has advanced past an event. Raises BenchError when the relay ends or takes too long."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while not await cursor_reached(database, last_id):
        if not child.alive():
            raise BenchError(f"{child.program.name} ended; its log is {child.program.log}")
        if asyncio.get_running_loop().time() > deadline:
            raise BenchError(f"event {last_id} was not confirmed in {PATIENCE_SECONDS:g} s; see {child.program.log}")
        await asyncio.sleep(POLL_SECONDS)
