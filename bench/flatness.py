"""Whether reader and cursor are as fast at the end of a long history as at its beginning.

The reader's pages are read and the cursor moved past each at once, as if a publisher confirmed without taking any
time: nothing dilutes what Postgres does, and no page shares its commit with another. Events are recorded a slice at a
time, in transactions of 500, and each slice is read as a window of its own; recording is not timed, nor is a first
slice that warms everything up. Held: all the while one transaction keeps a snapshot taken at the beginning and another
keeps a transaction id, as a forgotten report and a forgotten writer would.
"""

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from statistics import median
from time import perf_counter

from bench import outbox
from bench.errors import BenchError
from bench.figures import flatness
from bench.ground import Ground
from bench.plan import CHUNKS, SLICES, Plan
from outbox.pages import Carried, advance
from outbox.reader import Reader
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
    async with ground.database() as settings, AsyncExitStack() as stack:
        if held:
            await _hold(settings, stack)
        writer = await stack.enter_async_context(outbox.connected(settings.database_url))
        await writer.execute(_LEAD, EPOCH)
        cursor = await stack.enter_async_context(connected(settings))
        reader = Reader(await stack.enter_async_context(connected(settings)), settings.relay_page_size)
        await reader.resume()
        size = history // (CHUNKS * SLICES)
        await _slice(writer, reader, cursor, size)
        rates = [await _slice(writer, reader, cursor, size) for _ in range(CHUNKS * SLICES)]
    figure = flatness(rates[:SLICES], rates[-SLICES:])
    tenths = ", ".join(f"{median(rates[start : start + SLICES]):,.0f}" for start in range(0, len(rates), SLICES))
    print(f"  {'held' if held else 'free'}: {figure:.3f}; events/s by tenths: {tenths}", flush=True)
    return figure


async def _hold(settings: Settings, stack: AsyncExitStack) -> None:
    snapshot = await stack.enter_async_context(outbox.connected(settings.database_url))
    await snapshot.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await snapshot.fetchval("SELECT count(*) FROM outbox.pages")
    writer = await stack.enter_async_context(outbox.connected(settings.database_url))
    await writer.execute("BEGIN")
    await writer.fetchval("SELECT pg_current_xact_id()::text")


async def _slice(writer: outbox.Database, reader: Reader, cursor: outbox.Database, count: int) -> float:
    """Record a slice, then read it and move the cursor past it: events per second of the latter."""
    await outbox.fill(writer, count)
    started = perf_counter()
    read = 0
    while (page := await reader.next_page()) is not None:
        await advance(cursor, EPOCH, [Carried(page, datetime.now(UTC), datetime.now(UTC))])
        read += len(page.rows)
    if read != count:
        raise BenchError(f"the reader found {read} of {count} events")
    return count / (perf_counter() - started)
