"""`waybill doctor`: prints the findings of `ops.doctor` as a table."""

import asyncio

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ops.doctor.checks import run_checks
from ops.doctor.finding import Verdict
from ops.target import target_local_system, target_prometheus, target_settings

COLOURS = {Verdict.GOOD: "green", Verdict.WARNING: "yellow", Verdict.BAD: "red"}

console = Console(highlight=False)


def show_doctor() -> int:
    """Print the findings; 0 if none is bad. Raises OpsError if there is no target system."""
    local = target_local_system() is not None
    findings = asyncio.run(run_checks(target_settings(), target_prometheus(), local=local))
    table = Table("", "Subject")
    for title in ("Found", "Remedy"):
        table.add_column(title, overflow="fold")  # folds a long path or address and cuts nothing
    for finding in findings:
        mark = f"[{COLOURS[finding.verdict]}]{finding.verdict}[/]"
        table.add_row(mark, escape(finding.subject), escape(finding.found), escape(finding.remedy))
    console.print(table)
    return 1 if any(finding.verdict is Verdict.BAD for finding in findings) else 0
