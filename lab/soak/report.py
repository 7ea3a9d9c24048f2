"""The report of a soak run: a line per sample, a table of the programs, and the figures of its last line."""

from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from lab.percentiles import rounded_percentile
from lab.soak.figures import Backlog, Growth, Sample
from ops.audit.report import AuditReport


@dataclass(frozen=True, slots=True)
class SoakResult:
    """What a run came to. `restarted` names the programs that died or were restarted."""

    samples: list[Sample]
    audit: AuditReport
    order_ms: list[float]
    seconds: float
    faults: int
    restarted: list[str]


def print_sample(console: Console, sample: Sample) -> None:
    """One line per sample."""
    console.print(
        f"{sample.seconds:5.0f} s: {sample.unconfirmed} events unconfirmed, {sample.queued} messages queued, "
        f"{sample.unfinished} orders unfinished, {sum(sample.memory_mb.values()):.0f} MB in all",
        soft_wrap=True,
    )


def print_soak(console: Console, orders: Backlog, messages: Backlog, grown: Mapping[str, Growth]) -> None:
    """A sentence on each backlog, and the table of the programs."""
    for what, backlog in (("unfinished orders", orders), ("waiting events and messages", messages)):
        colour = "green" if backlog.flat else "red"
        console.print(
            f"[{colour}]{what}: {backlog.first:.1f} in the second fifth, {backlog.last:.1f} in the last, "
            f"{backlog.per_minute:+.2f} a minute ({backlog.grown:+.1f} over the run, {backlog.allowed:.0f} allowed)[/]",
            soft_wrap=True,
        )
    table = Table("Program", "First, MB", "Last, MB", "MB per hour", "Allowed")
    for name, growth in grown.items():
        colour = "green" if growth.flat else "red"
        per_hour = f"[{colour}]{growth.per_hour:+.1f}[/]"
        allowed = "too short" if growth.allowed_per_hour is None else f"{growth.allowed_per_hour:.0f}"
        table.add_row(name, f"{growth.first:.1f}", f"{growth.last:.1f}", per_hour, allowed)
    console.print(table)


def figures(result: SoakResult, backlog: Backlog, messages: Backlog, grown: Mapping[str, Growth]) -> dict[str, object]:
    """The last line: rates per second, the backlog in orders and orders a minute, memory in MB and MB per hour."""
    flat = backlog.flat and messages.flat and all(growth.flat for growth in grown.values())
    completed = result.audit.statuses.get("completed", 0)
    return {
        "orders": result.audit.orders,
        "completed": completed,
        "seconds": round(result.seconds, 1),
        "rate": round(result.audit.orders / result.seconds, 2),
        "backlog_first": round(backlog.first, 1),
        "backlog_last": round(backlog.last, 1),
        "backlog_slope": round(backlog.per_minute, 2),
        "messages_first": round(messages.first, 1),
        "messages_last": round(messages.last, 1),
        "order_ms_p50": rounded_percentile(result.order_ms, 50),
        "order_ms_p99": rounded_percentile(result.order_ms, 99),
        "memory_mb": {name: [round(growth.first, 1), round(growth.last, 1)] for name, growth in grown.items()},
        "memory_growth": {name: round(growth.per_hour, 1) for name, growth in grown.items()},
        "flat": flat and not result.restarted,
        "faults": result.faults,
    }
