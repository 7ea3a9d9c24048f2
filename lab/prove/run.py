"""`lab prove`: a fresh system, orders and faults at once, healing, and the judgement.

The servers are this run's own, always: it kills them, and nobody else's server may be treated so. The last line is one
JSON object; exit code 0 means that nothing is lost, duplicated, out of order or unfinished, and that enough faults
were seen.
"""

import asyncio
import os
import time
from contextlib import suppress

import typer
from rich.console import Console
from rich.markup import escape
from sqlalchemy.ext.asyncio import AsyncEngine

from lab.prove import report
from lab.prove.faults.injector import Injected, inject
from lab.prove.faults.plan import Planned, plan
from lab.prove.figures import Figures, Outcome, enough, figures
from lab.prove.judge.audit_cross_check import second_opinion
from lab.prove.judge.evidence import evidence
from lab.prove.judge.gather import gather
from lab.prove.judge.judge import judge
from lab.prove.load import Load
from lab.prove.parameters import Proof
from lab.prove.proxy import Proxies, proxies
from lab.prove.recorder import Recorder
from lab.prove.recovery import recover
from lab.prove.system_under_test import Rig
from lab.stack.local import EVERYTHING, LocalStack
from lab.stack.options import Variant
from lab.workload.catalogue import load_catalogue
from lab.workload.expectations import DemoSet
from lab.workload.generator import generate
from runtime.database import make_engine
from runtime.settings import Settings

PLAIN_WIDTH = 110  # columns, where there is no terminal that has any
PROGRESS_SECONDS = 5.0
LATE_SECONDS = 1
SAP_OPTIONS = ("--late-seconds", str(LATE_SECONDS))
# Short, so that what takes minutes in production is over in seconds; their proportions are production's.
ENVIRONMENT = {
    "DELIVERY_LEASE_SECONDS": "4",
    "RETRY_BASE_SECONDS": "0.3",
    "SAP_RETRY_BASE_SECONDS": "0.5",
    "SAP_COMMIT_SECONDS": str(LATE_SECONDS + 1),
    "SAP_TIMEOUT_SECONDS": "3",
    "SMTP_TIMEOUT_SECONDS": "5",
}


def prove(proof: Proof) -> int:
    """Run one proof; returns the exit code. Prints as it goes, the JSON object last. Raises OpsError."""
    begun = time.monotonic()
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    faults = plan(proof.seed, proof.counts, proof.seconds)
    report.print_plan(console, faults, proof.orders, proof.seconds, proof.seed)
    _say_what_is_left_alone(console)
    with proxies() as ways:
        variant = Variant(own_servers=True, through=ways.through, commands=proof.commands)
        with LocalStack.fresh(proof.folder, ENVIRONMENT, SAP_OPTIONS, variant) as stack:
            outcome = asyncio.run(_Run(proof, faults, stack, ways, console).all())
            console.print("Judged; every program and server is stopped now")
    found = figures(proof, outcome, time.monotonic() - begun)
    well = _report(console, proof, outcome, found)
    if not well:
        console.print(f"The logs are in {escape(str(stack.instance.logs))}", soft_wrap=True)
    typer.echo(found.line())
    return 0 if well else 1


class _Run:
    """One proof on one running system."""

    def __init__(
        self, proof: Proof, faults: tuple[Planned, ...], stack: LocalStack, ways: Proxies, console: Console
    ) -> None:
        self._proof, self._faults, self._stack, self._ways, self._console = proof, faults, stack, ways, console
        self._begun = time.time()
        self._seen = 0

    async def all(self) -> Outcome:
        """Load and faults, healing, judgement."""
        demo = generate(self._proof.orders, self._proof.seed)
        settings = Settings(database_url=self._stack.database_url, amqp_url=self._stack.amqp_url)
        await _load_catalogue(settings, demo)
        recorder = Recorder(self._stack.amqp_url, settings.event_exchange)
        async with Rig.of(self._stack, self._ways, recorder.arrived) as rig:
            with recorder.running():
                load, injected = await self._torment(rig, demo)
                self._tell("everything is put right again")
                healed = await recover(rig, self._proof, self._tell)
            self._tell("what has landed is read: tables, SAP's ledger, mail inbox, invoices")
            facts = await gather(rig, load.accepted, injected)
            findings = judge(demo, facts)
            if not any(finding.kind in {"lost", "duplicated"} for finding in findings):
                self._tell(
                    "nothing is missing or twice; the ledger of `waybill orders audit` counts again in its own way"
                )
                findings += await second_opinion(self._stack, demo)
            await evidence(rig, self._console, findings, load.accepted)
        return Outcome(len(load.accepted), injected, healed, findings)

    async def _torment(self, rig: Rig, demo: DemoSet) -> tuple[Load, list[Injected]]:
        """Orders and faults at once, until both are through."""
        load = Load(self._stack.api_url, [one.order for one in demo.orders], self._proof.seconds)
        self._begun = time.time()
        progress = asyncio.create_task(self._keep_telling(rig, load))
        try:
            async with asyncio.TaskGroup() as group:
                loading = group.create_task(load.run())
                injecting = group.create_task(inject(rig, self._faults, self._proof.bound, self._fault))
            await loading
            return load, injecting.result()
        finally:
            progress.cancel()
            with suppress(asyncio.CancelledError):
                await progress

    def _fault(self, injected: Injected) -> None:
        self._seen += injected.counts
        report.print_fault(self._console, injected, self._begun)

    async def _keep_telling(self, rig: Rig, load: Load) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            unfinished = await rig.unfinished()
            self._tell(
                f"{len(load.accepted)} of {self._proof.orders} orders accepted, {unfinished} unfinished, "
                f"{self._seen} of {len(self._faults)} faults seen"
            )

    def _tell(self, text: str) -> None:
        self._console.print(f"{time.time() - self._begun:8.1f} s  {text}", markup=False, soft_wrap=True)


def _say_what_is_left_alone(console: Console) -> None:
    given = [name for name in ("DATABASE_URL", "AMQP_URL") if os.environ.get(name)]
    if given:
        console.print(f"{' and '.join(given)}: left alone; a proof torments only servers that it has started itself.")
    console.print(f"Starting {EVERYTHING}", soft_wrap=True)


async def _load_catalogue(settings: Settings, demo: DemoSet) -> None:
    engine: AsyncEngine = make_engine(settings, "lab prove")
    try:
        async with engine.begin() as tx:
            await load_catalogue(tx, demo)
    finally:
        await engine.dispose()


def _report(console: Console, proof: Proof, outcome: Outcome, found: Figures) -> bool:
    """Print what was found; whether the proof has succeeded."""
    report.print_faults(console, outcome.injected)
    report.print_findings(console, outcome.findings)
    for refused in outcome.healed.refused:
        console.print(f"not replayed: {escape(refused)}", soft_wrap=True)
    sufficient = enough(proof, found)
    least = f"{proof.least_faults} of {proof.least_kinds}"
    report.print_verdict(console, found, enough=sufficient, least=least)
    return sufficient and not found.wrong
