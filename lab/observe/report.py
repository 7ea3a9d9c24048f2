"""The report of an observation for a person: alerts, panels, totals, and each failure in words."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab.observe.figures import Observed, failures
from lab.observe.outage import ALERT
from lab.observe.prometheus_checks import CheckedPanel
from lab.observe.totals import ComparedTotal


def print_report(console: Console, observed: Observed) -> None:
    """Every check, and the failures at the end."""
    up = sum(target.health == "up" for target in observed.targets)
    console.print(f"{up} of {len(observed.targets)} targets are up.")
    _print_alerts(console, observed)
    _print_panels(console, observed.panels)
    _print_totals(console, observed.compared)
    for failure in failures(observed):
        console.print(f"wrong: {escape(failure)}", style="bold red", soft_wrap=True)


def _print_alerts(console: Console, observed: Observed) -> None:
    sound = sum(rule.health == "ok" for rule in observed.rules)
    console.print(
        f"{len(observed.rules)} rules are loaded, {len(observed.alerts)} of them alerts, and {sound} sound; "
        f"{len(observed.shown_to_fire)} have a unit test that passes.",
        soft_wrap=True,
    )
    fired, resolved = observed.outage.fired_after, observed.outage.resolved_after
    if fired is not None and resolved is not None:
        console.print(
            f"{ALERT} fired {fired:.1f} s after SAP went away, and resolved {resolved:.1f} s after it was back."
        )
    console.print(f"Fired since the first order: {escape(', '.join(observed.fired)) or 'none'}.", soft_wrap=True)


def _print_panels(console: Console, panels: Sequence[CheckedPanel]) -> None:
    table = Table("Dashboard", title="Panels' queries", title_justify="left")
    for column in ("Queries", "With data", "Empty when all is well", "Wrong"):
        table.add_column(column, justify="right")
    asked = Counter(seen.panel.dashboard for seen in panels)
    for dashboard, queries in asked.items():
        own = [seen for seen in panels if seen.panel.dashboard == dashboard]
        with_data = sum(seen.series > 0 for seen in own)
        wrong = sum(not seen.well for seen in own)
        table.add_row(dashboard, str(queries), str(with_data), str(queries - with_data - wrong), str(wrong))
    console.print(table)
    for seen in panels:
        if seen.well and not seen.series:
            reason = seen.panel.empty_when_well
            console.print(
                f"  {escape(f'{seen.panel.dashboard} / {seen.panel.title}: empty, {reason}')}", soft_wrap=True
            )


def _print_totals(console: Console, compared: Sequence[ComparedTotal]) -> None:
    table = Table("Total", title="Prometheus beside the expected totals", title_justify="left")
    for column in ("Prometheus", "Expected"):
        table.add_column(column, justify="right")
    table.add_column("")
    for one in compared:
        measured, expected = sum(one.prometheus.values()), sum(one.expected.values())
        mark = "[green]equal[/]" if one.equal else f"[red]differs: {escape(', '.join(one.differing)) or 'in all'}[/]"
        table.add_row(one.total.name, f"{measured:g}", f"{expected:g}", mark)
    console.print(table)
