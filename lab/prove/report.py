"""The report of a proof for a person: the plan, the progress, the faults that were observed, the findings."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab.prove.faults.injector import Injected
from lab.prove.faults.plan import Planned
from lab.prove.figures import Figures, counted_faults
from lab.prove.judge.finding import Finding

SHOWN = 12  # findings of each kind


def print_plan(console: Console, plan: Sequence[Planned], orders: int, seconds: float, seed: int) -> None:
    """The seed first: the same seed plans the same faults again."""
    kinds = len({planned.kind for planned in plan})
    console.print(
        f"Seed {seed}: {orders} orders and {len(plan)} faults of {kinds} kinds within {seconds:.0f} s.",
        soft_wrap=True,
    )


def print_fault(console: Console, injected: Injected, since: float) -> None:
    """One line on one injected fault."""
    mark = "observed" if injected.counts else "NOT COUNTED"
    if injected.observed and not injected.unfinished:
        mark = "NOT COUNTED, no order was unfinished"
    console.print(
        f"  {injected.started - since:6.1f} s  {escape(injected.planned.name)}: {mark}; {escape(injected.note)} "
        f"({injected.unfinished} orders unfinished, {injected.ended - injected.started:.1f} s)",
        soft_wrap=True,
    )


def print_faults(console: Console, injected: Sequence[Injected]) -> None:
    """The table of faults by kind."""
    observed = counted_faults(injected)
    planned = Counter(one.planned.kind for one in injected)
    table = Table("Fault", title="Faults observed while an order was unfinished", title_justify="left")
    table.add_column("Injected", justify="right")
    table.add_column("Observed", justify="right")
    for kind in sorted(planned):
        table.add_row(kind, str(planned[kind]), str(observed[kind]))
    console.print(table)


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """The first few findings of each kind."""
    by_kind: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_kind[finding.kind].append(finding)
    for kind, found in by_kind.items():
        what = ", ".join(f"{count} {what}" for what, count in Counter(one.what for one in found).most_common())
        console.print(f"{kind}: {escape(what)}", style="" if kind == "resent" else "bold red", soft_wrap=True)
        for one in found[:SHOWN]:
            console.print(f"  {escape(f'{one.about}: {one.what} {one.detail}')}", soft_wrap=True)


def print_orders(console: Console, known: Mapping[str, Sequence[str]]) -> None:
    """The evidence on the first orders with a finding."""
    for reference, lines in known.items():
        console.print(f"{escape(reference)}:", soft_wrap=True)
        for line in lines:
            console.print(f"  {escape(line)}", soft_wrap=True)


def print_verdict(console: Console, figures: Figures, *, enough: bool, least: str) -> None:
    """The verdict in words; and with too few faults, why a run without findings is no proof."""
    console.print(verdict(figures), style="bold red" if figures.wrong else "green" if enough else "", soft_wrap=True)
    if not enough:
        console.print(
            f"Too few faults counted: {figures.faults} of {figures.fault_kinds} kinds; it takes {least}.",
            style="bold red",
            soft_wrap=True,
        )


def verdict(figures: Figures) -> str:
    """The figures as one sentence."""
    under = f"{figures.orders} orders under {figures.faults} faults of {figures.fault_kinds} kinds"
    if not figures.wrong:
        return f"{under}: nothing is lost, done twice, out of order or unfinished."
    wrong = {
        "lost": figures.lost,
        "done twice": figures.duplicated,
        "out of order": figures.out_of_order,
        "unfinished": figures.unfinished,
    }
    return f"{under}: {', '.join(f'{count} {what}' for what, count in wrong.items() if count)}."
