"""`lab prove`: a fresh system, orders and faults at once, recovery, and the judgement.

The servers always belong to this run: it kills them, so it never uses DATABASE_URL or AMQP_URL. The last line is
one JSON object; exit code 0 means that nothing is lost, duplicated, out of order or unfinished, and that enough faults
were observed.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import suppress

from rich.console import Console
from rich.markup import escape

from lab import trial
from lab.prove import report
from lab.prove.faults.injector import Injected, inject
from lab.prove.faults.plan import Planned, plan
from lab.prove.figures import Figures, ProofResult, enough, figures
from lab.prove.judge.audit_cross_check import audit_cross_check
from lab.prove.judge.evidence import evidence
from lab.prove.judge.gather import gather
from lab.prove.judge.judge import judge
from lab.prove.load import Load
from lab.prove.parameters import Parameters
from lab.prove.recorder import Recorder
from lab.prove.recovery import recover
from lab.prove.system_under_test import SystemUnderTest
from lab.stack.options import StackOptions
from lab.tcp_proxy.proxy import Proxies, proxies
from lab.trial import LATE_SECONDS, Setup, Trial
from lab.workload.generator import generate
from runtime.settings import Settings

PROGRESS_SECONDS = 5.0
SAP_OPTIONS = ("--late-seconds", str(LATE_SECONDS))  # faults come from the plan, not from the sandbox's own rates
# Short, so that minutes of production are seconds here; their proportions are those of production.
ENVIRONMENT = {
    "DELIVERY_LEASE_SECONDS": "4",
    "RETRY_BASE_SECONDS": "0.3",
    "SAP_RETRY_BASE_SECONDS": "0.5",
    "SAP_COMMIT_SECONDS": str(LATE_SECONDS + 1),
    "SAP_TIMEOUT_SECONDS": "3",
    "SMTP_TIMEOUT_SECONDS": "5",
}


def prove(parameters: Parameters) -> int:
    """Run one proof; returns the exit code. Prints as it goes, the JSON object last. Raises OpsError."""
    started = time.monotonic()
    console = trial.console()
    faults = plan(parameters.seed, parameters.counts, parameters.seconds)
    report.print_plan(console, faults, parameters.orders, parameters.seconds, parameters.seed)
    _print_unused_servers(console, os.environ)
    workload = generate(parameters.orders, parameters.seed)
    with proxies() as ways:
        options = StackOptions(own_servers=True, through=ways.through, commands=parameters.commands)
        setup = Setup("prove", workload, ENVIRONMENT, SAP_OPTIONS, options, parameters.folder)
        result = trial.run(setup, console, lambda running: _Proof(parameters, faults, running, ways).run())
    found = figures(parameters, result, time.monotonic() - started)
    return trial.conclude(setup, console, found.line(), passed=_print_result(console, parameters, result, found))


class _Proof:
    """One proof on one running system."""

    def __init__(self, parameters: Parameters, faults: tuple[Planned, ...], trial: Trial, ways: Proxies) -> None:
        self._parameters, self._faults, self._trial, self._ways = parameters, faults, trial, ways
        self._started = time.time()
        self._observed = 0

    async def run(self) -> ProofResult:
        """Load and faults, recovery, judgement."""
        stack = self._trial.stack
        settings = Settings(database_url=stack.database_url, amqp_url=stack.amqp_url)
        recorder = Recorder(stack.amqp_url, settings.event_exchange)
        async with SystemUnderTest.of(stack, self._ways, recorder.arrived) as system:
            with recorder.running():
                load, injected = await self._send_under_faults(system)
                self._trial.say("all faults are turned off; the system recovers")
                recovered = await recover(system, self._parameters, self._trial.say)
            self._trial.say("gathering what has landed: tables, SAP's ledger, mail inbox, invoices")
            facts = await gather(system, load.accepted, injected)
            findings = judge(self._trial.workload, facts)
            if not any(finding.kind in {"lost", "duplicated"} for finding in findings):
                self._trial.say("nothing is lost or duplicated; the completeness audit counts again in its own way")
                findings += await audit_cross_check(self._trial)
            report.print_orders(self._trial.console, await evidence(system, findings, load.accepted))
        self._trial.console.print("Judged; every program and server is stopped now")
        return ProofResult(len(load.accepted), injected, recovered, findings)

    async def _send_under_faults(self, system: SystemUnderTest) -> tuple[Load, list[Injected]]:
        """Orders and faults at once, until both are through."""
        orders = [one.order for one in self._trial.workload.orders]
        load = Load(self._trial.stack.api_url, orders, self._parameters.seconds)
        self._started = time.time()
        self._trial.restart_clock()
        progress = asyncio.create_task(self._report_progress(system, load))
        try:
            async with asyncio.TaskGroup() as group:
                loading = group.create_task(load.run())
                injecting = group.create_task(inject(system, self._faults, self._parameters.bound, self._on_fault))
            await loading
            return load, injecting.result()
        finally:
            progress.cancel()
            with suppress(asyncio.CancelledError):
                await progress

    def _on_fault(self, injected: Injected) -> None:
        self._observed += injected.counts
        report.print_fault(self._trial.console, injected, self._started)

    async def _report_progress(self, system: SystemUnderTest, load: Load) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            unfinished = await system.unfinished()
            self._trial.say(
                f"{len(load.accepted)} of {self._parameters.orders} orders accepted, {unfinished} unfinished, "
                f"{self._observed} of {len(self._faults)} faults observed"
            )


def _print_unused_servers(console: Console, environment: Mapping[str, str]) -> None:
    given = [name for name in ("DATABASE_URL", "AMQP_URL") if environment.get(name)]
    if given:
        console.print(f"{' and '.join(given)}: not used; a proof kills only servers that it has started itself.")


def _print_result(console: Console, parameters: Parameters, result: ProofResult, found: Figures) -> bool:
    """Print what was found; returns whether the proof has succeeded."""
    report.print_faults(console, result.injected)
    report.print_findings(console, result.findings)
    for refused in result.recovered.refused:
        console.print(f"not replayed: {escape(refused)}", soft_wrap=True)
    sufficient = enough(parameters, found)
    least = f"{parameters.least_faults} of {parameters.least_kinds}"
    report.print_verdict(console, found, enough=sufficient, least=least)
    return sufficient and not found.wrong
