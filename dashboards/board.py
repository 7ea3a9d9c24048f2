"""The parts of a dashboard: rows, panels, queries. Pure; knows nothing of Grafana's JSON.

Colours mean the same everywhere: red is a value that fires an alert or should, orange comes before it, green is well,
blue is neither.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

# How a panel's description says why it may be empty; the reason follows.
EMPTY_WHEN_WELL = "Empty when all is well: "

PAGE_WIDTH = 24  # Grafana's grid has so many columns

Colour = Literal["green", "orange", "red", "blue"]
# Lines over time, stacked lines, one number each, a row per series, or a coloured band of states over time.
Kind = Literal["lines", "stack", "number", "table", "states"]
Unit = Literal["short", "s", "ops", "reqps", "bytes", "percentunit"]


@dataclass(frozen=True, slots=True)
class Query:
    """An expression in PromQL, which may use Grafana's variables, and the legend of its series: `{{label}}`."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """A word and a colour for one value."""

    word: str
    colour: Colour


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture. `says` is a sentence for a reader who has not seen it before.

    `above`: the values from which it is bad, the last in red, one before it in orange; `below`: likewise downwards.
    `states`: the words for the values 0, 1, ... of kind `states`.
    `empty_when_well`: why the panel is empty while nothing is wrong; an empty panel without it is a fault.
    """

    title: str
    says: str
    queries: tuple[Query, ...]
    unit: Unit = "short"
    kind: Kind = "lines"
    width: int = 8
    above: tuple[float, ...] = ()
    below: tuple[float, ...] = ()
    states: tuple[State, ...] = ()
    empty_when_well: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading, laid from left to right, line below line."""

    title: str
    panels: tuple[Panel, ...]

    def lines(self) -> Iterator[tuple[Panel, ...]]:
        """The panels by line. Raises ValueError for a line that does not fill the page: the rest would be a hole."""
        line: tuple[Panel, ...] = ()
        for panel in self.panels:
            line += (panel,)
            if sum(each.width for each in line) == PAGE_WIDTH:
                yield line
                line = ()
        if line:
            titles = ", ".join(panel.title for panel in line)
            raise ValueError(f"row {self.title}: the widths of the line {titles} do not make {PAGE_WIDTH}")


@dataclass(frozen=True, slots=True)
class Choice:
    """A variable with the values of a label, which the reader chooses from; at first all. `values` is PromQL for it."""

    name: str
    label: str
    values: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page. `uid` is its address for good, and names its file."""

    uid: str
    title: str
    says: str
    rows: tuple[Row, ...]
    choices: tuple[Choice, ...] = ()
