"""deploy/grafana: the files are what the code makes, can be drawn, and find their data by themselves."""

import json
import re
from itertools import combinations
from typing import Any

import pytest
import yaml

from dashboards.board import PAGE_WIDTH
from dashboards.files import DASHBOARDS, FOLDER, files
from dashboards.grafana import DATASOURCE_UID
from tests.support.paths import ROOT

PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"
PAGES: dict[str, dict[str, Any]] = {file.stem: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))}
PANELS = [panel for page in PAGES.values() for panel in page["panels"] if panel["type"] != "row"]


def provisioned(what: str) -> dict[str, Any]:
    (file,) = (PROVISIONING / what).iterdir()
    written = yaml.safe_load(file.read_text())
    assert written["apiVersion"] == 1
    (one,) = written["datasources" if what == "datasources" else "providers"]
    return dict(one)


def test_the_files_are_what_the_code_makes() -> None:
    written = {file.name: file.read_text() for file in FOLDER.iterdir()}

    assert written == files(), "call `make dashboards`"


def test_there_are_five_and_none_keeps_what_only_one_grafana_knows() -> None:
    assert set(PAGES) == {"flow", "steps", "dead-letters", "relay", "broker-and-database"}
    for page in PAGES.values():
        assert not page.keys() & {"id", "version", "iteration", "time_options", "gnetId"}


def test_no_two_have_one_address_or_one_title() -> None:
    for key in ("uid", "title"):
        assert len({page[key] for page in PAGES.values()}) == len(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_panels_have_ids_of_their_own_and_do_not_lie_on_each_other(name: str) -> None:
    panels = PAGES[name]["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= PAGE_WIDTH
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


@pytest.mark.parametrize("name", PAGES)
def test_no_panel_is_named_twice_and_each_says_in_a_sentence_what_it_shows(name: str) -> None:
    panels = [panel for panel in PAGES[name]["panels"] if panel["type"] != "row"]

    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["description"].endswith("."), panel["title"]
        assert not panel["title"].endswith("."), panel["title"]


def test_lines_of_one_panel_differ() -> None:
    drawn_apart = [panel for panel in PANELS if panel["type"] in {"timeseries", "state-timeline"}]

    assert drawn_apart
    for panel in drawn_apart:
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert all(legends), panel["title"]
        assert len(set(legends)) == len(legends), panel["title"]
        assert panel["options"]["legend"]["showLegend"], panel["title"]


def test_a_table_names_its_value() -> None:
    tables = [panel for panel in PANELS if panel["type"] == "table"]

    assert tables
    for panel in tables:
        (target,) = panel["targets"]
        assert re.fullmatch(r"\w+", target["legendFormat"]), panel["title"]


@pytest.mark.parametrize("name", PAGES)
def test_each_page_leads_to_the_others_and_marks_what_fired(name: str) -> None:
    page = PAGES[name]
    (link,) = page["links"]
    (fired,) = page["annotations"]["list"]

    assert (link["type"], link["keepTime"]) == ("dashboards", True)
    assert all(set(link["tags"]) <= set(other["tags"]) for other in PAGES.values())
    assert fired["expr"].startswith("ALERTS{")
    assert fired["titleFormat"] == "{{alertname}}"


def test_every_panel_asks_the_source_that_is_provisioned() -> None:
    source = provisioned("datasources")

    assert source["uid"] == DATASOURCE_UID
    for page in PAGES.values():
        chosen = page["templating"]["list"][0]
        assert (chosen["name"], chosen["type"], chosen["query"]) == ("datasource", "datasource", source["type"])
        assert chosen["current"]["value"] == source["uid"]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    assert {panel["datasource"]["type"] for panel in PANELS} == {source["type"]}


def test_the_source_is_the_prometheus_of_compose_and_knows_how_often_it_scrapes() -> None:
    source = provisioned("datasources")
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["global"]

    assert source["url"] == "http://prometheus:9090"
    assert any(port.endswith(":9090") for port in compose["prometheus"]["ports"])
    assert source["jsonData"]["timeInterval"] == scraped["scrape_interval"]


def test_grafana_reads_the_folder_that_compose_mounts() -> None:
    volumes = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["grafana"]["volumes"]
    mounted = dict(volume.split(":")[:2] for volume in volumes)
    path = provisioned("dashboards")["options"]["path"]

    assert mounted["./deploy/grafana/dashboards"] == path
    assert mounted["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"


def test_the_code_has_nothing_that_is_in_no_file() -> None:
    assert {dashboard.uid for dashboard in DASHBOARDS} == {page["uid"] for page in PAGES.values()}
    assert sum(len(row.panels) for dashboard in DASHBOARDS for row in dashboard.rows) == len(PANELS)
