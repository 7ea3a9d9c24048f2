"""`lab demo`: a fresh system, orders sent through it over HTTP, and every effect counted where it landed.

Nothing that is reported comes from the programs' own word for it: SAP's ledger, the messages in the inbox, the text of
the PDFs, the tables. The last line is one JSON object; exit code 0 means that every figure is as it had to be. The
clock stops with the last order; counting begins after that.
"""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from sqlalchemy.ext.asyncio import AsyncEngine

from lab.demo import report
from lab.demo.count import checks, count
from lab.demo.figures import Counted, Timings, figures, timings
from lab.demo.gather import gather
from lab.stack.commands import LOCAL
from lab.stack.local import EVERYTHING, LocalStack
from lab.workload.catalogue import load_catalogue
from lab.workload.expectations import DemoSet
from lab.workload.generator import SEED, generate
from lab.workload.northwind import load_northwind
from lab.workload.progress import meter
from lab.workload.submission import Accepted, submit
from lab.workload.wait import Stuck, wait_audited, wait_finished
from runtime.database import make_engine
from runtime.settings import Settings

FOLDER = LOCAL / "demo"
LATE_SECONDS = 1
SAP_SEED = 7
SAP_OPTIONS = (
    *("--seed", str(SAP_SEED)),
    *("--error-rate", "0.05"),
    *("--lost-rate", "0.02"),
    *("--late-seconds", str(LATE_SECONDS)),
)
# A production SAP takes a minute to be sure of; this one commits late by a second at most, and nobody has ten minutes
# to watch retries.
ENVIRONMENT = {
    "SAP_COMMIT_SECONDS": str(LATE_SECONDS + 1),
    "SAP_RETRY_BASE_SECONDS": "1",
    "SAP_TIMEOUT_SECONDS": "10",
    "RETRY_BASE_SECONDS": "0.5",
}
PLAIN_WIDTH = 110  # columns, where there is no terminal that has any


@dataclass(frozen=True)
class Outcome:
    """What one run came to."""

    counted: Counted
    timings: Timings
    stuck: list[Stuck]


def run_demo(orders: int = 500, orders_dir: Path | None = None, seed: int = SEED) -> int:
    """Run the demo on `orders` generated orders or on a folder in Northwind's layout; returns the exit code.

    Prints as it goes, the JSON object last, when everything has been stopped again. Raises OpsError.
    """
    demo = load_northwind(orders_dir) if orders_dir else generate(orders, seed)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    report.print_input(console, demo)
    console.print(f"Starting {EVERYTHING}", soft_wrap=True)
    with LocalStack.fresh(FOLDER, ENVIRONMENT, SAP_OPTIONS) as stack:
        if stack.unwatched:
            console.print(escape(stack.unwatched), style="yellow", soft_wrap=True)
        outcome = asyncio.run(_through(stack, demo, console))
    results = checks(demo, outcome.counted)
    report.print_checks(console, results)
    report.print_timings(console, outcome.timings, outcome.counted)
    if outcome.stuck:
        report.print_stuck(console, outcome.stuck)
        console.print(f"The logs are in {escape(str(stack.instance.logs))}", soft_wrap=True)
    typer.echo(json.dumps(figures(outcome.counted, outcome.timings), separators=(",", ":")))
    return 0 if not outcome.stuck and all(check.right for check in results) else 1


async def _through(stack: LocalStack, demo: DemoSet, console: Console) -> Outcome:
    """Send all orders through a running system and count what landed."""
    settings = Settings(database_url=stack.database_url, amqp_url=stack.amqp_url)
    engine = make_engine(settings, "lab demo")
    try:
        async with engine.begin() as tx:
            await load_catalogue(tx, demo)
        orders = [one.order for one in demo.orders]
        with meter(console, "Accepted", len(orders)) as show:
            accepted = await submit(stack.api_url, orders, show)
        with meter(console, "Finished", len(orders)) as show:
            stuck = await wait_finished(engine, len(orders), show)
        if not stuck:
            await wait_audited(engine)
        return await _count(stack, demo, console, engine, accepted, stuck)
    finally:
        await engine.dispose()


async def _count(
    stack: LocalStack,
    demo: DemoSet,
    console: Console,
    engine: AsyncEngine,
    accepted: list[Accepted],
    stuck: list[Stuck],
) -> Outcome:
    with meter(console, "Invoices read", len(demo.completing)) as show:
        landed = await gather(
            engine,
            api_url=stack.api_url,
            sap_url=stack.sap_url,
            amqp_url=stack.amqp_url,
            inbox=stack.inbox_dir,
            documents=stack.documents_dir,
            on_invoices=show,
        )
    return Outcome(count(demo, landed), timings(landed.orders, [one.accept_ms for one in accepted]), stuck)
