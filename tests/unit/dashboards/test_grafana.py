"""What a panel says becomes what Grafana reads."""

import json
from typing import Any

import pytest

from dashboards.board import Choice, Dashboard, Kind, Panel, Query, Row, State
from dashboards.grafana import as_json

QUERIES = (Query("up", "{{job}}"), Query("vector(1)", "one"))


def drawn(panel: Panel) -> dict[str, Any]:
    page = json.loads(as_json(Dashboard("waybill-x", "X", "What it is.", (Row("Row", (panel,)),))))
    _, found = page["panels"]
    return dict(found)


def panel(kind: Kind = "lines", **more: Any) -> Panel:
    return Panel("Up", "Who is up.", QUERIES, kind=kind, width=24, **more)


def steps(panel: Panel) -> list[tuple[float | None, str]]:
    return [(step["value"], step["color"]) for step in drawn(panel)["fieldConfig"]["defaults"]["thresholds"]["steps"]]


@pytest.mark.parametrize(
    ("kind", "type_", "instant"),
    [
        ("lines", "timeseries", False),
        ("stack", "timeseries", False),
        ("states", "state-timeline", False),
        ("number", "stat", True),
        ("table", "table", True),
    ],
)
def test_what_goes_over_time_is_asked_for_over_time(kind: Kind, type_: str, instant: bool) -> None:
    found = drawn(panel(kind))

    assert found["type"] == type_
    assert [(target["refId"], target["expr"], target["instant"]) for target in found["targets"]] == [
        ("A", "up", instant),
        ("B", "vector(1)", instant),
    ]


def test_bad_is_red_and_before_it_comes_orange() -> None:
    assert steps(panel("number", above=(1,))) == [(None, "green"), (1, "red")]
    assert steps(panel("number", above=(1, 5))) == [(None, "green"), (1, "orange"), (5, "red")]
    assert steps(panel("number", below=(0.99,))) == [(None, "red"), (0.99, "green")]
    assert steps(panel("number", below=(8, 16))) == [(None, "red"), (8, "orange"), (16, "green")]
    assert steps(panel("number")) == [(None, "blue")]


def test_the_words_of_states_stand_for_0_and_1() -> None:
    (words,) = drawn(panel("states", states=(State("no", "green"), State("yes", "red"))))["fieldConfig"]["defaults"][
        "mappings"
    ]

    assert [(value, word["text"], word["color"]) for value, word in words["options"].items()] == [
        ("0", "no", "green"),
        ("1", "yes", "red"),
    ]


def test_a_table_names_its_value_by_its_query() -> None:
    (organized,) = drawn(panel("table"))["transformations"]

    assert organized["options"]["renameByName"] == {"Value": "{{job}}"}


def test_a_choice_begins_with_all() -> None:
    board = Dashboard("waybill-x", "X", "What it is.", (), (Choice("step", "Step", "waybill_deliveries_total"),))
    _, variable = json.loads(as_json(board))["templating"]["list"]

    assert variable["query"] == "label_values(waybill_deliveries_total, step)"
    assert (variable["includeAll"], variable["allValue"], variable["current"]["value"]) == (True, ".*", "$__all")


def test_the_same_dashboard_makes_the_same_bytes() -> None:
    board = Dashboard("waybill-x", "X", "What it is.", (Row("Row", (panel(),)),))

    assert as_json(board) == as_json(board)
