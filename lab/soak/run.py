"""`lab soak`: ten orders a second through all eight steps, with mild SAP faults, for as long as a leak needs to show.

The trial starts a system of its own and stops it at the end. Every ten seconds it samples the backlog and the memory of
each program. At the end every order must be completed with each effect there once (the completeness audit), and neither
backlog nor memory may have grown. The last line is one JSON object; exit code 0 means that all of this holds.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from lab import trial
from lab.effects import read_sap_ledger
from lab.soak.figures import Sample, growth, message_backlog, order_backlog
from lab.soak.report import SoakResult, figures, print_sample, print_soak
from lab.soak.samples import programs, take_samples
from lab.trial import Setup, Trial
from lab.workload.expectations import Workload
from lab.workload.generator import SEED, generate
from lab.workload.submission import submit
from ops.cli.audit_view import print_report
from orders.model import NewOrder

RATE = 10.0  # orders a second
COMPLETING = 0.9  # more than this share of generated orders must complete; the others are not sent
SAP_OPTIONS = trial.sap_options(seed=7, error_rate=0.02, lost_rate=0.005)
ENVIRONMENT = {**trial.SHORT_WAITS, "LOG_LEVEL": "WARNING"}

# By the database's clock alone.
_TIMES = text("SELECT extract(epoch FROM completed_at - placed_at) * 1000 FROM orders WHERE status = 'completed'")


def run_soak(minutes: float = 10.0) -> int:
    """Run it, print as it goes, the JSON object last; returns the exit code. Raises OpsError."""
    setup = Setup("soak", _workload(max(1, round(minutes * 60 * RATE))), ENVIRONMENT, SAP_OPTIONS)
    count = len(setup.workload.orders)
    console = trial.console()
    console.print(f"{count} orders, {RATE:g} a second", soft_wrap=True)
    result = trial.run(setup, console, _soak)
    orders, messages = order_backlog(result.samples, RATE), message_backlog(result.samples, RATE)
    grown = growth(result.samples, RATE)
    print_soak(console, orders, messages, grown)
    if not result.audit.clean:
        print_report(console, result.audit)
    if result.restarted:
        console.print(f"[red]Did not run through: {', '.join(result.restarted)}[/]")
    line = figures(result, orders, messages, grown)
    passed = bool(line["flat"]) and result.audit.clean and line["completed"] == count
    return trial.conclude(setup, console, trial.json_line(line), passed=passed)


def _workload(count: int) -> Workload:
    """`count` orders that must complete, with the catalogue that they were generated with."""
    generated = generate(math.ceil(count / COMPLETING), SEED)
    completing = [one for one in generated.orders if one.refused_for is None]
    return replace(generated, orders=tuple(completing[:count]))


async def _soak(trial: Trial) -> SoakResult:
    orders = trial.workload.completing
    started, before = datetime.now(UTC), programs(trial.stack)
    samples = await _send(trial, orders)
    seconds = (datetime.now(UTC) - started).total_seconds()
    await trial.wait_finished(len(orders))
    after = programs(trial.stack)
    return SoakResult(
        samples,
        await trial.audit(),
        await _order_ms(trial.engine),
        seconds,
        (await read_sap_ledger(trial.stack.sap_url)).faults_injected,
        [name for name, pid in before.items() if after.get(name) != pid],
    )


async def _send(trial: Trial, orders: Sequence[NewOrder]) -> list[Sample]:
    """Send each order at its time, and sample meanwhile."""
    sent = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        sampling = group.create_task(
            take_samples(trial.stack, sent, lambda sample: print_sample(trial.console, sample))
        )
        await submit(trial.stack.api_url, orders, lambda _: None, RATE)
        sent.set()
    return sampling.result()


async def _order_ms(engine: AsyncEngine) -> list[float]:
    async with engine.connect() as tx:
        return [float(taken) for taken in (await tx.execute(_TIMES)).scalars()]
