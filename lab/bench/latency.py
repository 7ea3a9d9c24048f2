"""The relay's latency at 100 events a second, and the number of statements that it sends for many events.

Latency is from COMMIT's return in the writer to the broker's confirm in the relay. Writer and relay are processes of
their own; both record times by the clock that all processes of a machine share. The relay is the real one, observed.
The writer's first second is its warm-up and left out.

Before that the same relay drains a round's events that were recorded before it started; all statements are counted that
it sends from its first publish until its cursor has advanced past the last of them.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

from lab.bench import outbox
from lab.bench.errors import BenchError
from lab.bench.ground import Ground
from lab.bench.observations import Observations, read
from lab.bench.plan import Plan
from lab.bench.processes.programs import OBSERVED_RELAY, PATIENCE_SECONDS, running, until_confirmed
from lab.percentiles import percentile
from runtime.settings import Settings

RATE = 100
WARM_UP_SECONDS = 1.0


async def measure(ground: Ground, plan: Plan) -> dict[str, float]:
    """Both percentiles in milliseconds, and statements. Raises BenchError."""
    folder = ground.instance.folder
    async with ground.database() as settings:
        drained_at, seen = await _observe(ground, settings, plan, folder / "commits.json")
    statements = sum(seen.first_publish <= moment <= drained_at for moment in seen.statements)
    waits = _waits(read(folder / "commits.json").confirmed, seen.confirmed)
    figures = {
        "pg_statements_per_1000_events": statements / (plan.events / 1000),
        "commit_to_confirm_ms_p50": percentile(waits, 50) * 1000,
        "commit_to_confirm_ms_p99": percentile(waits, 99) * 1000,
    }
    print(f"  {statements} statements for {plan.events:,} events; then {len(waits)} single events", flush=True)
    return figures


async def _observe(ground: Ground, settings: Settings, plan: Plan, commits: Path) -> tuple[float, Observations]:
    """When the first events were drained, and the relay's observations. The writer writes `commits`."""
    notes = ground.instance.folder / "relay.json"
    ground.empty_queues()
    async with outbox.connected(settings.database_url) as database:
        await outbox.fill(database, plan.events)
        with running(ground, settings, OBSERVED_RELAY, str(notes)) as relay:
            await until_confirmed(database, relay, await outbox.last_event(database))
            drained_at = monotonic()
            ground.empty_queues()
            words = (str(RATE), str(WARM_UP_SECONDS + plan.latency_seconds), str(commits))
            with running(ground, settings, "lab.bench.processes.writer", *words) as writer:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while writer.alive():  # noqa: ASYNC110 - a process gives no event
                        await asyncio.sleep(0.1)
            await until_confirmed(database, relay, await outbox.last_event(database))
    return drained_at, read(notes)


def _waits(committed: Mapping[str, float], confirmed: Mapping[str, float]) -> list[float]:
    """Seconds from commit to confirm, of each event after the warm-up. Raises BenchError when one was lost."""
    lost = committed.keys() - confirmed.keys()
    if lost:
        raise BenchError(f"{len(lost)} of {len(committed)} events were never confirmed")
    begin = min(committed.values()) + WARM_UP_SECONDS
    return [confirmed[event] - moment for event, moment in committed.items() if moment >= begin]
