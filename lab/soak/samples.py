"""Samples of a running local stack: its backlog, and the memory of each program with its children."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import asyncpg
import psutil

from lab.soak.figures import Sample
from lab.stack.local import LocalStack
from ops.doctor import broker_client
from orders.workflow import BY_QUEUE
from outbox.cursor.backlog import backlog

SAMPLE_SECONDS = 10.0
_UNFINISHED = "SELECT count(*) FROM orders WHERE status NOT IN ('completed', 'rejected')"
_MEGABYTE = 1024 * 1024
# Left out: it keeps the samples of the last hours in memory, and so it grows until those hours are over.
_PROMETHEUS = "prometheus"


async def take_samples(stack: LocalStack, stopping: asyncio.Event, on_sample: Callable[[Sample], None]) -> list[Sample]:
    """A sample every ten seconds until `stopping` is set; the first after ten seconds."""
    started = time.monotonic()
    samples: list[Sample] = []
    while True:
        due = started + (len(samples) + 1) * SAMPLE_SECONDS
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), max(0.0, due - time.monotonic()))
        if stopping.is_set():
            return samples
        samples.append(await take_sample(stack, started))
        on_sample(samples[-1])


async def take_sample(stack: LocalStack, started: float) -> Sample:
    """One sample; `started` is when the first order was sent, by the monotonic clock."""
    connection = await asyncpg.connect(stack.database_url, timeout=10)
    try:
        unconfirmed = (await backlog(connection)).events
        unfinished = await connection.fetchval(_UNFINISHED)
    finally:
        await connection.close()
    queued = await asyncio.to_thread(_queued, stack.amqp_url)
    measured = {name: pid for name, pid in programs(stack).items() if name != _PROMETHEUS}
    memory, processes = await asyncio.to_thread(_measure_memory, measured)
    return Sample(time.monotonic() - started, unconfirmed, queued, unfinished, memory, processes)


def programs(stack: LocalStack) -> dict[str, int]:
    """The pid of each program of the stack, the servers' included where they are the stack's own."""
    return {state.name: state.pid for state in stack.states()}


def _queued(amqp_url: str) -> int:
    """Messages that are ready for a worker. No client can read how many messages a worker holds."""
    with broker_client.connection(amqp_url) as link:
        return sum(state.messages for state in broker_client.queue_states(link, BY_QUEUE).values() if state is not None)


def _measure_memory(pids: dict[str, int]) -> tuple[dict[str, float], dict[str, int]]:
    """Megabytes and number of processes by program."""
    families = {name: family for name, pid in pids.items() if (family := _family(pid))}
    memory = {name: _megabytes(name, family) for name, family in families.items()}
    return memory, {name: len(family) for name, family in families.items()}


def _family(pid: int) -> list[psutil.Process]:
    """A program's process with all its children; none if it has ended."""
    with suppress(psutil.NoSuchProcess):
        main = psutil.Process(pid)
        return [main, *main.children(recursive=True)]
    return []


def _megabytes(name: str, family: list[psutil.Process]) -> float:
    """Resident memory of a program's processes; a page that they share is counted for each.

    Counting each process's share of a page (PSS) would be right for the machine and wrong for growth: a child's first
    garbage collection copies 27 MB of its parent's pages, and a test that ends beside us leaves the libraries that it
    shared to us. PostgreSQL is counted without its shared buffers, which fill up to their configured size.
    """
    total = 0
    for process in family:
        with suppress(psutil.Error):  # ended in between
            total += process.memory_full_info().uss if name == "postgres" else process.memory_info().rss
    return total / _MEGABYTE
