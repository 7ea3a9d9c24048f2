"""Samples of a running local stack: its backlog, and the memory of each program with its children."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import asyncpg
import psutil

from ops import broker
from ops.local_stack import LocalStack
from ops.soak_figures import Sample
from orders.workflow import BY_QUEUE
from outbox.backlog import backlog

SAMPLE_SECONDS = 10.0
_UNFINISHED = "SELECT count(*) FROM orders WHERE status NOT IN ('completed', 'rejected')"
_MEGABYTE = 1024 * 1024


async def take_samples(stack: LocalStack, stopping: asyncio.Event, on_sample: Callable[[Sample], None]) -> list[Sample]:
    """A sample every ten seconds until `stopping` is set; the first after ten seconds."""
    begun = time.monotonic()
    samples: list[Sample] = []
    while True:
        due = begun + (len(samples) + 1) * SAMPLE_SECONDS
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), max(0.0, due - time.monotonic()))
        if stopping.is_set():
            return samples
        samples.append(await take_sample(stack, begun))
        on_sample(samples[-1])


async def take_sample(stack: LocalStack, begun: float) -> Sample:
    """What is there now; `begun` is when the first order was sent, by the monotonic clock."""
    connection = await asyncpg.connect(stack.database_url, timeout=10)
    try:
        unpassed = (await backlog(connection)).events
        unfinished = await connection.fetchval(_UNFINISHED)
    finally:
        await connection.close()
    queued = await asyncio.to_thread(_queued, stack.amqp_url)
    memory = await asyncio.to_thread(_memory, programs(stack))
    return Sample(time.monotonic() - begun, unpassed, queued, unfinished, memory)


def programs(stack: LocalStack) -> dict[str, int]:
    """The pid of each program of the stack, the servers' included where they are the stack's own."""
    return {state.name: state.pid for state in stack.states()}


def _queued(amqp_url: str) -> int:
    """Messages that are ready for a worker; what a worker holds is in no figure that a client may ask for."""
    with broker.connection(amqp_url) as link:
        return sum(state.messages for state in broker.queue_states(link, BY_QUEUE).values() if state is not None)


def _memory(pids: dict[str, int]) -> dict[str, float]:
    return {name: _megabytes(name, pid) for name, pid in pids.items()}


def _megabytes(name: str, pid: int) -> float:
    """What a program and its children weigh together: each page once, by its share (PSS).

    PostgreSQL without the buffers that its processes share: they fill up to the size that they are given.
    """
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        main = psutil.Process(pid)
        for process in (main, *main.children(recursive=True)):
            with suppress(psutil.Error):  # ended in between
                figures = process.memory_full_info()
                own = figures.uss if name == "postgres" else getattr(figures, "pss", figures.rss)
                total += own / _MEGABYTE
    return total
