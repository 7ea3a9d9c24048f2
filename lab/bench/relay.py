"""The benchmark of the relay, on real servers in one run: `make bench-relay`.

Four parts, one after another: throughput beside raw publishing (`ratio`), reading through a long history (`flatness`),
commit to confirm (`latency`), processor time without events (`idle`). Each module says what it measures and how. The
last line printed is one JSON object; the run succeeds whatever the figures are.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from time import monotonic

import uvloop

from lab.bench import flatness, idle, latency, ratio
from lab.bench.figures import result_line, table
from lab.bench.ground import Ground, prepared
from lab.bench.plan import Plan, parse
from lab.stack.signals import ending_on_sigterm
from ops.errors import OpsError
from runtime.settings import SettingsError

Part = Callable[[Ground, Plan], Awaitable[dict[str, float]]]
MEASURES: dict[str, Part] = {
    "ratio": ratio.measure,
    "flatness": flatness.measure,
    "latency": latency.measure,
    "idle": idle.measure,
}
INTERRUPTED = 130


def run(plan: Plan) -> dict[str, float]:
    """Measure what the plan asks for. Raises OpsError."""
    started = monotonic()
    print("Starting PostgreSQL and RabbitMQ ...", flush=True)
    with ending_on_sigterm(), prepared() as ground, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures: dict[str, float] = {}
        for part in plan.parts:
            print(f"{monotonic() - started:5.1f} s  {part}", flush=True)
            figures |= runner.run(_measured(MEASURES[part], ground, plan))
    print(f"{monotonic() - started:5.1f} s  done\n", flush=True)
    return figures


async def _measured(part: Part, ground: Ground, plan: Plan) -> dict[str, float]:
    return await part(ground, plan)


def main() -> int:
    """Measure, print, return the exit code."""
    plan = parse()
    try:
        figures = run(plan)
    except (OpsError, SettingsError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return INTERRUPTED
    print(table(figures))
    print(result_line(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
