"""`lab soak`: ten orders a second, all eight steps, mild SAP faults, for as long as it takes to see what grows.

A system of its own is started and taken away. Every ten seconds the backlog and the memory of each program are
sampled; at the end every order must be completed, with each effect there once (`ops.audit.report`), and neither
backlog nor memory may have grown. The last line is one JSON object; exit code 0 means that all of this holds.
"""

import asyncio
import json
import math
from datetime import UTC, datetime, timedelta

import httpx
import typer
from rich.console import Console
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from lab.demo.run import ENVIRONMENT as QUICK
from lab.demo.run import LATE_SECONDS, SAP_SEED
from lab.soak.figures import Sample, growth, message_backlog, order_backlog
from lab.soak.report import Soaked, figures, print_sample, print_soak
from lab.soak.samples import programs, take_samples
from lab.stack.commands import LOCAL
from lab.stack.local import LocalStack
from lab.workload.catalogue import load_catalogue
from lab.workload.expectations import DemoSet
from lab.workload.generator import SEED, generate
from lab.workload.submission import submit
from lab.workload.wait import wait_audited, wait_finished
from ops.audit.probes import SapSandbox
from ops.audit.report import Places, Report, audit
from ops.cli.audit_view import print_report
from orders.audit.queries import Window
from orders.model import NewOrder
from runtime.database import make_engine
from runtime.document_store import document_store
from runtime.settings import Settings

FOLDER = LOCAL / "soak"
RATE = 10.0  # orders a second
COMPLETING = 0.9  # of generated orders more than this share must complete; the others are not sent
SAP_OPTIONS = (
    *("--seed", str(SAP_SEED)),
    *("--error-rate", "0.02"),
    *("--lost-rate", "0.005"),
    *("--late-seconds", str(LATE_SECONDS)),
)
# As in a demo: nobody soaks for an hour to see a retry.
ENVIRONMENT = {**QUICK, "LOG_LEVEL": "WARNING"}

# By the database's clock alone.
_TIMES = text("SELECT extract(epoch FROM completed_at - placed_at) * 1000 FROM orders WHERE status = 'completed'")


def run_soak(minutes: float = 10.0) -> int:
    """Run it, print as it goes, the JSON object last; returns the exit code. Raises OpsError."""
    console = Console(highlight=False)
    count = max(1, round(minutes * 60 * RATE))
    demo = generate(math.ceil(count / COMPLETING), SEED)
    orders = list(demo.completing[:count])
    console.print(f"{count} orders, {RATE:g} a second; starting a system", soft_wrap=True)
    with LocalStack.fresh(FOLDER, ENVIRONMENT, SAP_OPTIONS) as stack:
        soaked = asyncio.run(_through(stack, demo, orders, console))
    waiting, messages = order_backlog(soaked.samples, RATE), message_backlog(soaked.samples, RATE)
    grown = growth(soaked.samples, RATE)
    print_soak(console, waiting, messages, grown)
    if not soaked.report.clean:
        print_report(console, soaked.report)
    if soaked.restarted:
        console.print(f"[red]Did not run through: {', '.join(soaked.restarted)}[/]")
    line = figures(soaked, waiting, messages, grown)
    typer.echo(json.dumps(line, separators=(",", ":")))
    return 0 if line["flat"] and soaked.report.clean and line["completed"] == count else 1


async def _through(stack: LocalStack, demo: DemoSet, orders: list[NewOrder], console: Console) -> Soaked:
    settings = Settings(database_url=stack.database_url, amqp_url=stack.amqp_url)
    engine = make_engine(settings, "lab soak")
    try:
        async with engine.begin() as tx:
            await load_catalogue(tx, demo)
        begun, before = datetime.now(UTC), programs(stack)
        samples = await _send(stack, orders, console)
        seconds = (datetime.now(UTC) - begun).total_seconds()
        if not await wait_finished(engine, len(orders), lambda *_: None):
            await wait_audited(engine)
        after = programs(stack)
        return Soaked(
            samples,
            await _audit(engine, stack, demo, begun),
            await _order_ms(engine),
            seconds,
            await _faults(stack),
            [name for name, pid in before.items() if after.get(name) != pid],
        )
    finally:
        await engine.dispose()


async def _send(stack: LocalStack, orders: list[NewOrder], console: Console) -> list[Sample]:
    """Send every order in its time, and sample meanwhile."""
    sent = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        sampling = group.create_task(take_samples(stack, sent, lambda sample: print_sample(console, sample)))
        await submit(stack.api_url, orders, lambda _: None, RATE)
        sent.set()
    return sampling.result()


async def _audit(engine: AsyncEngine, stack: LocalStack, demo: DemoSet, begun: datetime) -> Report:
    stock = {product.sku: product.stock for product in demo.products}
    settings = Settings(database_url=stack.database_url, amqp_url=stack.amqp_url, documents_dir=stack.documents_dir)
    places = Places(SapSandbox(stack.sap_url), stack.mail_url, document_store(settings), stock)
    window = Window(begun - timedelta(minutes=1), datetime.now(UTC) + timedelta(minutes=1))
    return await audit(engine, places, window, timedelta(0))


async def _order_ms(engine: AsyncEngine) -> list[float]:
    async with engine.connect() as tx:
        return [float(taken) for taken in (await tx.execute(_TIMES)).scalars()]


async def _faults(stack: LocalStack) -> int:
    async with httpx.AsyncClient(base_url=stack.sap_url, trust_env=False) as client:
        ledger = (await client.get("/sandbox/ledger")).raise_for_status().json()
        return int(ledger["faults_injected"])
