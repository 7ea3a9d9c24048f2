"""The output of an order's timeline: one line for each entry, with the time of day and the gap before it.

On a terminal a long line is folded under its own start; in a pipe each entry is one line, for `grep`. Called by
`ops.cli.orders_show`.
"""

from collections.abc import Iterator
from datetime import date

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orders.tracking.timeline import AttemptOutcome, Entry, EntryKind, Timeline
from orders.tracking.wording import one_line

COLOURS = {
    EntryKind.DEAD_LETTER: "red",
    EntryKind.REJECTED: "red",
    EntryKind.DISCARDED: "yellow",
    EntryKind.COMPLETED: "green",
}
OUTCOME_COLOURS = {
    AttemptOutcome.RETRIED: "yellow",
    AttemptOutcome.AWAY: "yellow",
    AttemptOutcome.DEAD: "red",
    AttemptOutcome.LOST: "red",
}

# How an attempt ended; its error follows.
_OUTCOMES = {
    AttemptOutcome.DONE: "done in {took}",
    AttemptOutcome.RETRIED: "failed after {took}",
    AttemptOutcome.AWAY: "outage after {took}, counts as no attempt",
    AttemptOutcome.DEAD: "dead-lettered after {took}",
    AttemptOutcome.LOST: "never ended, its worker died or lost its connection",
    AttemptOutcome.RUNNING: "runs",
}

Line = tuple[str, str, str]  # time, gap, sentence; the sentence in rich's markup


def print_story(console: Console, story: Timeline) -> None:
    """Print the entries, the oldest first, and the remarks on what is missing."""
    lines = list(_lines(story))
    console.print("[bold]Timeline[/], times in UTC, gaps since the line before:")
    if console.is_terminal:
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(no_wrap=True)
        grid.add_column(justify="right", no_wrap=True)
        grid.add_column(overflow="fold")
        for line in lines:
            grid.add_row(*line)
        console.print(grid)
    else:
        width = max((len(gap) for _, gap, _ in lines), default=0)
        for time, gap, text in lines:
            console.print(f"{time:<12}  {gap:>{width}}  {text}", soft_wrap=True)
    for remark in story.remarks:
        console.print(f"[dim]({escape(remark)})[/]", soft_wrap=True)


def _lines(story: Timeline) -> Iterator[Line]:
    day: date | None = None
    for entry in story.entries:
        if entry.at.date() != day:
            day = entry.at.date()
            yield f"{day}", "", ""
        colour = COLOURS.get(entry.what) or (entry.outcome and OUTCOME_COLOURS.get(entry.outcome)) or "default"
        gap = "" if entry.gap_ms is None else f"+{milliseconds(entry.gap_ms)}"
        yield f"{entry.at:%H:%M:%S}.{entry.at.microsecond // 1000:03d}", gap, f"[{colour}]{escape(sentence(entry))}[/]"


def sentence(entry: Entry) -> str:
    """An entry as a sentence for people."""
    match entry.what:
        case EntryKind.ATTEMPT:
            return f"{entry.step}, attempt {entry.attempt}{_as_generation(entry)} by {entry.worker}: {_outcome(entry)}"
        case EntryKind.DONE:
            return f"{entry.step} done"
        case EntryKind.REJECTED:
            return f"rejected: {one_line(entry.why)}"
        case EntryKind.DEAD_LETTER:
            return f"dead letter {entry.dead_letter} in {entry.queue} ({entry.why}){_error(entry)}"
    return _action(entry) if entry.dead_letter is not None else _message(entry)


def _as_generation(entry: Entry) -> str:
    """The generation, if it differs from the attempt: after an outage or a replay."""
    return "" if entry.generation in {None, entry.attempt} else f" (generation {entry.generation})"


def _action(entry: Entry) -> str:
    again = "" if entry.generation is None else f" as generation {entry.generation}"
    due = "" if entry.due_at is None else f", due {entry.due_at:%Y-%m-%d %H:%M:%S}"
    why = f": {one_line(entry.why)}" if entry.why else ""
    return f"dead letter {entry.dead_letter} {entry.what}{again} by {entry.actor}{why}{due}"


def _message(entry: Entry) -> str:
    """A sentence about an event, or about the order itself."""
    event = "" if entry.event is None else f"{entry.event} "
    queue = "" if entry.queue is None else f" for {entry.queue}"
    again = "" if entry.generation is None else f", generation {entry.generation}"
    return f"{event}{entry.what}{queue}{again}"


def _outcome(entry: Entry) -> str:
    took = "" if entry.duration_ms is None else milliseconds(entry.duration_ms)
    return _OUTCOMES[entry.outcome or AttemptOutcome.RUNNING].format(took=took) + _error(entry)


def milliseconds(duration: float) -> str:
    """A duration in milliseconds; below 10 ms with one decimal."""
    return f"{duration:.1f} ms" if abs(duration) < 10 else f"{duration:,.0f} ms"


def _error(entry: Entry) -> str:
    return f": {one_line(entry.error)}" if entry.error else ""
