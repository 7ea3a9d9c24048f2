"""The queries of Grafana's dashboards in plain PromQL: one `Panel` for each query.

They are read from the committed JSON alone, so the checks run the queries that Grafana runs. Grafana's variables are
not PromQL: each is replaced by a value, and a variable that a reader chooses by the value of "All". Pure but for the
files.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboards.board import EMPTY_WHEN_WELL
from ops.errors import OpsError

_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")  # $name, ${name}, ${name:format}


class PanelError(OpsError):
    """A dashboard's file holds a query that cannot be run."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One query. `empty_when_well` says why it may return nothing while nothing is wrong; None: then it must not.

    `instant`: Grafana asks for the values of one moment, and not for those over a time.
    """

    dashboard: str
    title: str
    expr: str
    empty_when_well: str | None
    instant: bool = False


def read_panels(folder: Path, *, rate_interval: str = "1m", time_range: str = "30m") -> list[Panel]:
    """Every query of the folder's dashboards, in the order of their files and panels. Raises PanelError.

    `rate_interval` is Grafana's $__rate_interval, `time_range` the time that a dashboard shows, $__range.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise PanelError(f"{folder} holds no dashboard; make them with `make dashboards`")
    time = {"__rate_interval": rate_interval, "__range": time_range}
    return [panel for file in files for panel in _panels(json.loads(file.read_text()), time)]


def _panels(dashboard: Mapping[str, Any], time: Mapping[str, str]) -> Iterator[Panel]:
    variables = {**time, **{one["name"]: _value_of_all(one) for one in dashboard["templating"]["list"]}}
    for panel in dashboard["panels"]:
        _, found, reason = panel.get("description", "").partition(EMPTY_WHEN_WELL)
        for target in panel.get("targets", ()):
            where = f"{dashboard['title']}, {panel['title']}"
            expr = _filled(target["expr"], variables, where)
            yield Panel(
                dashboard["title"], panel["title"], expr, reason if found else None, bool(target.get("instant"))
            )


def _value_of_all(variable: Mapping[str, Any]) -> str:
    """The value of a variable while the reader has chosen nothing."""
    return str(variable.get("allValue") or variable["current"]["value"])


def _filled(expr: str, variables: Mapping[str, str], where: str) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in variables:
            raise PanelError(f"{where}: the variable ${name} is not defined, in {expr}")
        return variables[name]

    return _VARIABLE.sub(value, expr)
