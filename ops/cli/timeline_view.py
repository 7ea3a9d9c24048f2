"""Prints an order's story: a line for each thing that happened, with the time of day and the gap before it.

On a terminal a long line goes on under its own beginning; piped, each entry stays one line, for `grep`.
"""

from collections.abc import Iterator
from datetime import date

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orders.tracking.progress import one_line
from orders.tracking.timeline import Entry, Outcome, Timeline, What

COLOURS = {
    What.DEAD_LETTER: "red",
    What.REJECTED: "red",
    What.DISCARDED: "yellow",
    What.COMPLETED: "green",
}
OUTCOME_COLOURS = {Outcome.RETRIED: "yellow", Outcome.AWAY: "yellow", Outcome.DEAD: "red", Outcome.LOST: "red"}

Line = tuple[str, str, str]  # time, gap, what happened, in rich's markup


def print_story(console: Console, story: Timeline) -> None:
    """The story, oldest first, and what is not known of it."""
    lines = list(_lines(story))
    console.print("[bold]Story[/], times in UTC, gaps since the line before:")
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
    """What happened, as a person reads it."""
    match entry.what:
        case What.ATTEMPT:
            return f"{entry.step}, attempt {entry.attempt}{_as_generation(entry)} by {entry.worker}: {_outcome(entry)}"
        case What.DONE:
            return f"{entry.step} done"
        case What.REJECTED:
            return f"rejected: {one_line(entry.why)}"
        case What.DEAD_LETTER:
            return f"dead letter {entry.dead_letter} in {entry.queue} ({entry.why}){_error(entry)}"
    return _deed(entry) if entry.dead_letter is not None else _message(entry)


def _as_generation(entry: Entry) -> str:
    """The try where it is another number: an outage or a replay lies before it."""
    return "" if entry.generation in {None, entry.attempt} else f" (generation {entry.generation})"


def _deed(entry: Entry) -> str:
    again = "" if entry.generation is None else f" as generation {entry.generation}"
    due = "" if entry.due_at is None else f", due {entry.due_at:%Y-%m-%d %H:%M:%S}"
    why = f": {one_line(entry.why)}" if entry.why else ""
    return f"dead letter {entry.dead_letter} {entry.what}{again} by {entry.actor}{why}{due}"


def _message(entry: Entry) -> str:
    """What happened to an event, or to the order itself."""
    event = "" if entry.event is None else f"{entry.event} "
    queue = "" if entry.queue is None else f" for {entry.queue}"
    again = "" if entry.generation is None else f", generation {entry.generation}"
    return f"{event}{entry.what}{queue}{again}"


def _outcome(entry: Entry) -> str:
    took = "" if entry.duration_ms is None else milliseconds(entry.duration_ms)
    match entry.outcome:
        case Outcome.DONE:
            return f"done in {took}"
        case Outcome.RETRIED:
            return f"failed after {took}{_error(entry)}"
        case Outcome.AWAY:
            return f"nobody there after {took}, counts as no try{_error(entry)}"
        case Outcome.DEAD:
            return f"given up after {took}{_error(entry)}"
        case Outcome.LOST:
            return "never ended, its worker died or was cut off"
        case _:
            return "runs"


def milliseconds(duration: float) -> str:
    """A duration; what is short has a decimal."""
    return f"{duration:.1f} ms" if abs(duration) < 10 else f"{duration:,.0f} ms"


def _error(entry: Entry) -> str:
    return f": {one_line(entry.error)}" if entry.error else ""
