"""`waybill doctor`: prints the findings of ops.doctor as a table."""

import asyncio

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ops.doctor.checks import examine
from ops.doctor.finding import Verdict
from ops.target import local_system_in_question, prometheus_in_question, settings_in_question

COLOURS = {Verdict.GOOD: "green", Verdict.WARNING: "yellow", Verdict.BAD: "red"}

console = Console(highlight=False)


def show_doctor() -> int:
    """Print the findings; 0 when none is bad. Raises OpsError when there is no system to examine."""
    local = local_system_in_question() is not None
    findings = asyncio.run(examine(settings_in_question(), prometheus_in_question(), local=local))
    table = Table("", "What")
    for words in ("Found", "What to do"):
        table.add_column(words, overflow="fold")  # a path or an address, whole
    for finding in findings:
        mark = f"[{COLOURS[finding.verdict]}]{finding.verdict}[/]"
        table.add_row(mark, escape(finding.subject), escape(finding.found), escape(finding.remedy))
    console.print(table)
    return 1 if any(finding.verdict is Verdict.BAD for finding in findings) else 0
