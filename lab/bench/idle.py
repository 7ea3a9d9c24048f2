"""The idle cost of a leading relay: its processor time, user and system, in percent of one core."""

import asyncio
from time import monotonic

import psutil

from lab.bench import outbox
from lab.bench.ground import Ground
from lab.bench.plan import Plan
from lab.bench.processes.programs import RELAY, running, until_confirmed

SETTLE_SECONDS = 0.5


async def measure(ground: Ground, plan: Plan) -> dict[str, float]:
    """Percent of one core. Raises BenchError."""
    async with ground.database() as settings, outbox.connected(settings.database_url) as database:
        with running(ground, settings, RELAY) as relay:
            await outbox.fill(database, 1)
            await until_confirmed(database, relay, await outbox.last_event(database))  # it leads, and all is loaded
            await asyncio.sleep(SETTLE_SECONDS)
            before, started = _cpu_seconds(relay.pid), monotonic()
            await asyncio.sleep(plan.idle_seconds)
            percent = 100 * (_cpu_seconds(relay.pid) - before) / (monotonic() - started)
    print(f"  {percent:.2f} % of one core over {plan.idle_seconds:g} s", flush=True)
    return {"idle_cpu_percent": percent}


def _cpu_seconds(pid: int) -> float:
    """Processor time of all threads so far, in the kernel's ticks of 10 ms."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
