"""The report of a demo for a person: each figure beside the one due, the times, and the orders that are stuck."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab.demo.count import Check
from lab.demo.figures import Counted, Timings
from lab.percentiles import rounded_percentile
from lab.workload.expectations import Workload
from lab.workload.wait import Stuck


def print_input(console: Console, workload: Workload) -> None:
    """The workload that is about to be sent."""
    lines = sum(len(one.order.lines) for one in workload.orders)
    console.print(
        f"Sending {escape(workload.title)}: {len(workload.orders)} orders, {lines} lines, "
        f"{len(workload.products)} products; {len(workload.refused)} orders must be rejected.",
        soft_wrap=True,
    )
    for note in workload.notes:
        console.print(f"  {escape(note)}", style="dim", soft_wrap=True)


def print_checks(console: Console, checks: Sequence[Check]) -> None:
    """Every figure, where it was counted, what was found and what was due."""
    table = Table("", "What", "Counted in", title="What landed where", title_justify="left")
    table.add_column("Found", justify="right")
    table.add_column("Due", justify="right")
    for check in checks:
        mark = "[green]✓[/]" if check.correct else "[bold red]✗[/]"
        table.add_row(mark, check.name, check.where, escape(check.found), escape(check.due))
    console.print(table)


def print_timings(console: Console, timings: Timings, counted: Counted) -> None:
    """How long a client waited, how long an order took, and how often SAP failed on purpose."""
    table = Table("Milliseconds", title="How long it took", title_justify="left")
    for heading in ("half of them within", "90 %", "99 %", "all"):
        table.add_column(heading, justify="right")
    for name, values in (
        ("POST /orders until accepted", timings.accept_ms),
        ("order placed until completed", timings.order_ms),
    ):
        table.add_row(name, *(_shown(rounded_percentile(values, per_cent)) for per_cent in (50, 90, 99, 100)))
    console.print(table)
    finished = counted.completed + counted.rejected
    rate = f", {finished / timings.seconds:.0f} orders a second" if timings.seconds else ""
    console.print(
        f"First submission to last order finished: {timings.seconds:.1f} s{rate}. "
        f"SAP failed {counted.sap_faults_injected} times on purpose.",
        soft_wrap=True,
    )


def print_stuck(console: Console, stuck: Sequence[Stuck]) -> None:
    """The orders that will not finish, with the step that each waits for and its error."""
    table = Table("Order", "Reference", "Status", "Step", "Event", "State", "Attempt", "Error", title="Stuck orders")
    for one in stuck:
        step = one.step or "no step started"
        row = (one.number, one.reference, one.status, step, one.event_type, one.state, one.attempt, one.error)
        table.add_row(*("" if value is None else escape(str(value)) for value in row))
    console.print(table)


def _shown(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f"{milliseconds:.1f}"
