"""`lab demo`: a fresh system, orders sent through it over HTTP, and every effect counted where it landed.

No figure is a program's own claim: they come from SAP's ledger, the messages in the inbox, the text of the PDFs and the
tables. The last line is one JSON object; exit code 0 means that every figure is as it had to be. The clock stops with
the last order; counting begins after that.
"""

from dataclasses import dataclass
from pathlib import Path

from lab import trial
from lab.demo import report
from lab.demo.count import Check, checks, count
from lab.demo.facts import Landed
from lab.demo.figures import Counted, Timings, figures, timings
from lab.demo.gather import gather
from lab.trial import Setup, Trial
from lab.workload.generator import SEED, generate
from lab.workload.northwind import load_northwind
from lab.workload.progress import meter
from lab.workload.wait import Stuck
from ops.cli.audit_view import print_report

SAP_OPTIONS = trial.sap_options(seed=7, error_rate=0.05, lost_rate=0.02)


@dataclass(frozen=True)
class DemoResult:
    """What one demo came to."""

    landed: Landed
    counted: Counted
    timings: Timings
    stuck: list[Stuck]


def run_demo(orders: int = 500, orders_dir: Path | None = None, seed: int = SEED) -> int:
    """Run the demo on `orders` generated orders or on a folder in Northwind's layout; returns the exit code.

    Prints as it goes, the JSON object last, when everything has been stopped again. Raises OpsError.
    """
    setup = Setup(
        "demo", load_northwind(orders_dir) if orders_dir else generate(orders, seed), trial.SHORT_WAITS, SAP_OPTIONS
    )
    console = trial.console()
    report.print_input(console, setup.workload)
    result = trial.run(setup, console, _send_and_count)
    results = checks(setup.workload, result.counted)
    report.print_checks(console, results)
    report.print_timings(console, result.timings, result.counted)
    if not result.counted.audit_clean:
        print_report(console, result.landed.audit)
    if result.stuck:
        report.print_stuck(console, result.stuck)
    line = trial.json_line(figures(result.counted, result.timings))
    return trial.conclude(setup, console, line, passed=_passed(result, results))


async def _send_and_count(trial: Trial) -> DemoResult:
    """Send all orders through a running system and count what landed."""
    accepted = await trial.send([one.order for one in trial.workload.orders])
    stuck = await trial.wait_finished(len(accepted))
    with meter(trial.console, "Invoices read", len(trial.workload.completing)) as show:
        landed = await gather(trial, show)
    times = timings(landed.orders, [one.accept_ms for one in accepted])
    return DemoResult(landed, count(trial.workload, landed), times, stuck)


def _passed(result: DemoResult, results: list[Check]) -> bool:
    return not result.stuck and all(check.correct for check in results)
