"""The queries that `lab observe` reads from a dashboard's file."""

import json
from pathlib import Path
from typing import Any

import pytest

from dashboards.board import EMPTY_WHEN_WELL
from lab.observe.panels import Panel, PanelError, read_panels


def dashboard(*panels: dict[str, Any], title: str = "Flow") -> dict[str, Any]:
    variables = [
        {"name": "datasource", "type": "datasource", "current": {"value": "prometheus"}},
        {"name": "step", "type": "query", "allValue": ".*", "current": {"value": "$__all"}},
    ]
    return {"title": title, "panels": list(panels), "templating": {"list": variables}}


def panel(*exprs: str, says: str = "What it is.", title: str = "Requests") -> dict[str, Any]:
    return {"title": title, "type": "timeseries", "description": says, "targets": [{"expr": expr} for expr in exprs]}


def read(folder: Path, *pages: dict[str, Any]) -> list[Panel]:
    for number, page in enumerate(pages):
        (folder / f"{number}.json").write_text(json.dumps(page))
    return read_panels(folder, rate_interval="30s", time_range="15m")


def test_each_query_of_a_panel_has_its_dashboard_and_title(tmp_path: Path) -> None:
    row = {"title": "Row", "type": "row", "panels": []}
    pages = dashboard(row, panel("a", "b")), dashboard(panel("c", title="Leader"), title="Relay")

    assert read(tmp_path, *pages) == [
        Panel("Flow", "Requests", "a", None),
        Panel("Flow", "Requests", "b", None),
        Panel("Relay", "Leader", "c", None),
    ]


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("rate(a[$__rate_interval])", "rate(a[30s])"),
        ("increase(a[${__range}])", "increase(a[15m])"),
        ('a{step=~"$step"}', 'a{step=~".*"}'),
        ('a{step=~"${step:regex}"}', 'a{step=~".*"}'),
        ('a{queue=~"x$"}', 'a{queue=~"x$"}'),
    ],
)
def test_variables_of_grafana_are_filled_in(written: str, asked: str, tmp_path: Path) -> None:
    (found,) = read(tmp_path, dashboard(panel(written)))

    assert found.expr == asked


def test_an_undefined_variable_is_refused_with_its_panel(tmp_path: Path) -> None:
    with pytest.raises(PanelError, match=r"Flow, Requests: the variable \$queue is not defined"):
        read(tmp_path, dashboard(panel('a{queue="$queue"}')))


def test_a_panel_says_why_it_is_empty_when_all_is_well(tmp_path: Path) -> None:
    (found,) = read(tmp_path, dashboard(panel("a > 0", says=f"What is open. {EMPTY_WHEN_WELL}no dead letter is open.")))

    assert found.empty_when_well == "no dead letter is open."


def test_a_query_for_one_moment_differs_from_one_over_a_time(tmp_path: Path) -> None:
    number = {**panel("a", "b"), "targets": [{"expr": "a", "instant": True}, {"expr": "b", "instant": False}]}

    assert [one.instant for one in read(tmp_path, dashboard(number, panel("c")))] == [True, False, False]


def test_a_folder_without_dashboards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PanelError, match="make dashboards"):
        read_panels(tmp_path)
