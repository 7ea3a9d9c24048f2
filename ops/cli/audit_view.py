"""The output of `waybill orders audit`: tables for people, one JSON object for programs."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ops.audit.report import AuditReport
from orders.audit.rules import MissingEffect

SHOWN = 100  # rows printed of one kind; --json prints them all


def as_json(report: AuditReport) -> str:
    """The whole report in one line; money, times and ids as text."""
    figures: dict[str, Any] = {**asdict(report), "overdue": len(report.overdue), "clean": report.clean}
    return json.dumps(figures, default=str, ensure_ascii=False, separators=(",", ":"))


def print_report(console: Console, report: AuditReport) -> None:
    """Print the faults, then the effects in progress, then the sums."""
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(report.statuses.items())) or "none"
    placed = "1 order" if report.orders == 1 else f"{report.orders} orders"
    console.print(
        f"{placed} placed from {report.since:%Y-%m-%d %H:%M:%S} to {report.until:%Y-%m-%d %H:%M:%S} UTC: {statuses}",
        soft_wrap=True,
    )
    for place, reason in report.not_seen.items():
        console.print(f"[yellow]{place} did not answer, our tables are trusted:[/] {escape(reason)}", soft_wrap=True)
    in_progress = [one for one in report.missing if not one.overdue]
    _print_missing(console, "Overdue", report.overdue)
    _rows(
        console,
        f"Doubled: {len(report.doubled)}",
        [(one.order, one.effect, one.what) for one in report.doubled],
    )
    _rows(
        console,
        f"Without an order: {len(report.orphans)}",
        [("", one.effect, one.what) for one in report.orphans],
    )
    _print_missing(console, "In progress", in_progress)
    for sales in report.sales_wrong:
        console.print(
            f"[red]sales of {sales.day}, {escape(sales.sku)}, {escape(sales.country)}:[/] {sales.units} units and "
            f"{sales.revenue} {sales.currency}, the orders have {sales.due_units} and {sales.due_revenue}",
            soft_wrap=True,
        )
    for stock in report.stock_wrong:
        console.print(
            f"[red]stock of {escape(stock.sku)}:[/] {stock.available} available and {stock.reserved} reserved "
            f"of {stock.initial}",
            soft_wrap=True,
        )
    console.print(
        f"e-mails sent again under the same Message-ID: {report.resent}; gaps in the invoice numbers: "
        f"{report.invoice_gaps}; events missing from the audit log: {report.audit_missing}, "
        f"{report.audit_overdue} of them overdue; audit rows too many: {report.audit_extra}",
        soft_wrap=True,
    )
    verdict = "[green]Every effect exists, once.[/]" if report.clean else "[bold red]The audit found faults.[/]"
    if report.clean and in_progress:
        verdict = "[green]No effect is overdue and none is doubled.[/]"
    console.print(verdict)


def _print_missing(console: Console, title: str, missing: Sequence[MissingEffect]) -> None:
    """Print a row for each order and blocking step: effects that wait for the same step share its row."""
    by_step: defaultdict[tuple[str, str], list[MissingEffect]] = defaultdict(list)
    for one in missing:
        blocked_by = one.blocked_by.partition(": ")[2] if one.blocked_by.startswith("waits for ") else one.blocked_by
        by_step[one.order, blocked_by].append(one)
    rows = []
    for (order, blocked_by), effects in by_step.items():
        blocked_here = any(one.blocked_by == blocked_by for one in effects)
        rows.append(
            (order, ", ".join(one.effect for one in effects), blocked_by if blocked_here else effects[0].blocked_by)
        )
    _rows(console, f"{title}: {len(missing)}", rows)


def _rows(console: Console, title: str, rows: list[tuple[str, str, str]]) -> None:
    if not rows:
        return
    table = Table("Order", "Effect", "What", title=title, title_justify="left")
    for order, effect, what in rows[:SHOWN]:
        table.add_row(order, str(effect), escape(what))
    console.print(table)
    if len(rows) > SHOWN:
        console.print(f"… and {len(rows) - SHOWN} more (--json)")
