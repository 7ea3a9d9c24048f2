"""Flatness: whether reader and cursor are as fast at the end of a long history as at its beginning.

Each page is read and the cursor advances past it at once, as if a publisher confirmed without taking any time: so only
Postgres is measured, and no page shares its commit with another. Events are recorded a slice at a time, in transactions
of 500, and each slice is read as a window of its own; neither recording nor a first warm-up slice is timed. `held`: all
the while one transaction keeps a snapshot from the beginning and another keeps a transaction id, as a forgotten report
and a forgotten writer would.

The machine's own rate drifts by more than the difference to be measured. So the last tenth of the history is measured
in turns with the first tenth of another that begins at that moment: both were measured in the same seconds.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from time import perf_counter
from typing import Self

from lab.bench import outbox
from lab.bench.errors import BenchError
from lab.bench.figures import flatness
from lab.bench.ground import Ground
from lab.bench.plan import CHUNKS, SLICES, Plan
from outbox.cursor.log import ConfirmedPage, advance
from outbox.cursor.reader import Reader
from relay.connections import connected
from runtime.settings import Settings

EPOCH = 1
_LEAD = "INSERT INTO outbox.leases (name, epoch, holder, expires_at) VALUES ('relay', $1, 'bench', 'infinity')"


async def measure(ground: Ground, plan: Plan) -> dict[str, float]:
    """Both figures, each on a database of its own."""
    return {
        "flatness": await _measure(ground, plan.history, held=False),
        "flatness_held": await _measure(ground, plan.history, held=True),
    }


async def _measure(ground: Ground, history: int, *, held: bool) -> float:
    size = history // (CHUNKS * SLICES)
    async with AsyncExitStack() as stack:
        long = await _History.started(ground, stack, size, held=held)
        rates = [await long.slice(size) for _ in range((CHUNKS - 1) * SLICES)]
        fresh = await _History.started(ground, stack, size, held=held)
        await outbox.checkpoint(fresh.writer)
        first: list[float] = []
        last: list[float] = []
        for number in range(SLICES):
            turn = [(fresh, first), (long, last)]
            for one, its_rates in turn if number % 2 else reversed(turn):
                its_rates.append(await one.slice(size))
    figure = flatness(first, last)
    rates += last
    tenths = ", ".join(f"{median(rates[start : start + SLICES]):,.0f}" for start in range(0, len(rates), SLICES))
    name = "held" if held else "free"
    print(f"  {name}: {figure:.3f}; events/s by tenths: {tenths}; beside the last: {median(first):,.0f}", flush=True)
    return figure


@dataclass(frozen=True, slots=True)
class _History:
    """An outbox that grows, and its reader and cursor."""

    writer: outbox.Database
    reader: Reader
    cursor: outbox.Database

    @classmethod
    async def started(cls, ground: Ground, stack: AsyncExitStack, size: int, *, held: bool) -> Self:
        """A new outbox, with one slice behind it."""
        settings = await stack.enter_async_context(ground.database())
        if held:
            await _hold(settings, stack)
        writer = await stack.enter_async_context(outbox.connected(settings.database_url))
        await writer.execute(_LEAD, EPOCH)
        cursor = await stack.enter_async_context(connected(settings))
        reader = Reader(await stack.enter_async_context(connected(settings)), settings.relay_page_size)
        await reader.resume()
        history = cls(writer, reader, cursor)
        await history.slice(size)
        return history

    async def slice(self, count: int) -> float:
        """Record so many events, then read them and advance the cursor; returns the events per second of the latter."""
        await outbox.fill(self.writer, count)
        started = perf_counter()
        read = 0
        while (page := await self.reader.next_page()) is not None:
            await advance(self.cursor, EPOCH, [ConfirmedPage(page, datetime.now(UTC), datetime.now(UTC))])
            read += len(page.rows)
        if read != count:
            raise BenchError(f"the reader found {read} of {count} events")
        return count / (perf_counter() - started)


async def _hold(settings: Settings, stack: AsyncExitStack) -> None:
    snapshot = await stack.enter_async_context(outbox.connected(settings.database_url))
    await snapshot.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await snapshot.fetchval("SELECT count(*) FROM outbox.pages")
    writer = await stack.enter_async_context(outbox.connected(settings.database_url))
    await writer.execute("BEGIN")
    await writer.fetchval("SELECT pg_current_xact_id()::text")
