"""Grafana's JSON for a dashboard, made by its own SDK.

The same code gives the same bytes: ids are counted from the top, keys are sorted, and there is no version, because a
provisioned dashboard is what its file says. The SDK places what is added, from left to right.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from string import ascii_uppercase

from grafana_foundation_sdk.builders import common, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as commons
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prometheus_models

from dashboards.board import EMPTY_WHEN_WELL, Choice, Colour, Dashboard, Kind, Panel, State

TAG = "waybill"
DATASOURCE_UID = "prometheus"  # as deploy/grafana/provisioning names it
# In a Grafana of their own, readers choose their Prometheus on the page.
CHOSEN_DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
HEIGHT, NUMBER_HEIGHT = 8, 4

AnyPanel = timeseries.Panel | stat.Panel | table.Panel | statetimeline.Panel


class _FiringAlerts(models.AnnotationQuery):
    """Annotations over every graph: which alerts fired when."""

    def to_json(self) -> dict[str, object]:
        """With the two keys that Grafana's Prometheus plugin reads and the SDK's schema does not know."""
        return {**super().to_json(), "titleFormat": "{{alertname}}", "textFormat": "{{job}} {{queue}} {{step}}"}


def as_json(dashboard: Dashboard) -> str:
    """The text of its file."""
    return json.dumps(_page(dashboard).build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _page(dashboard: Dashboard) -> sdk.Dashboard:
    page = (
        sdk.Dashboard(dashboard.title)
        .uid(dashboard.uid)
        .description(dashboard.says)
        .tags([TAG])
        .readonly()
        .refresh("10s")
        .time("now-30m", "now")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(_link_to_the_others())
        .with_variable(_datasource())
    )
    page.build().annotations = models.AnnotationContainer(list_val=[_firing_alerts()])
    for choice in dashboard.choices:
        page.with_variable(_variable(choice))
    ids = count(1)
    for row in dashboard.rows:
        page.with_row(sdk.Row(row.title).id(next(ids)))
        for line in row.lines():
            height = NUMBER_HEIGHT if all(panel.kind == "number" for panel in line) else HEIGHT
            for panel in line:
                page.with_panel(_panel(panel).id(next(ids)).span(panel.width).height(height))
    return page


def _link_to_the_others() -> sdk.DashboardLink:
    return sdk.DashboardLink("Waybill").type(models.DashboardLinkType.DASHBOARDS).tags([TAG]).keep_time(keep_time=True)


def _datasource() -> sdk.DatasourceVariable:
    chosen = models.VariableOption(text="Prometheus", value=DATASOURCE_UID)
    return sdk.DatasourceVariable("datasource").label("Prometheus").type("prometheus").current(chosen)


def _variable(choice: Choice) -> sdk.QueryVariable:
    return (
        sdk.QueryVariable(choice.name)
        .label(choice.label)
        .datasource(CHOSEN_DATASOURCE)
        .query(f"label_values({choice.values}, {choice.name})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(models.VariableOption(text="All", value="$__all"))
    )


def _firing_alerts() -> _FiringAlerts:
    return _FiringAlerts(
        name="Firing alerts",
        datasource=CHOSEN_DATASOURCE,
        icon_color="red",
        expr='ALERTS{alertstate="firing", severity!="none"}',
    )


def _panel(panel: Panel) -> AnyPanel:
    drawn = _DRAWN[panel.kind](panel)
    if panel.unit == "short" and panel.kind in {"number", "table"}:
        drawn.decimals(0)  # counts: `increase` estimates what lies between scrapes, and says 1.003 for one
    drawn.title(panel.title).description(_description(panel)).datasource(CHOSEN_DATASOURCE).unit(panel.unit)
    for ref_id, query in zip(ascii_uppercase, panel.queries, strict=False):
        target = prometheus.Dataquery().ref_id(ref_id).expr(query.expr).legend_format(query.legend)
        target.editor_mode(prometheus_models.QueryEditorMode.CODE)
        if panel.kind == "table":
            target.instant().format(prometheus_models.PromQueryFormat.TABLE)
        elif panel.kind == "number":
            target.instant()
        else:
            target.range()
        drawn.with_target(target)
    return drawn


def _description(panel: Panel) -> str:
    return panel.says if panel.empty_when_well is None else f"{panel.says} {EMPTY_WHEN_WELL}{panel.empty_when_well}"


def _lines(panel: Panel) -> timeseries.Panel:
    drawn = (
        timeseries.Panel()
        .min(0)
        .line_width(1)
        .fill_opacity(8)
        .show_points(commons.VisibilityMode.NEVER)
        .legend(_legend().calcs(["lastNotNull"]))
        .tooltip(common.VizTooltipOptions().mode(commons.TooltipDisplayMode.MULTI).sort(commons.SortOrder.DESCENDING))
    )
    if panel.above or panel.below:
        dashed = common.GraphThresholdsStyleConfig().mode(commons.GraphThresholdsStyleMode.DASHED)
        drawn.thresholds(_thresholds(panel)).thresholds_style(dashed)
    return drawn


def _stack(panel: Panel) -> timeseries.Panel:
    piled = common.StackingConfig().mode(commons.StackingMode.NORMAL).group("A")
    return _lines(panel).stacking(piled).fill_opacity(50)


def _number(panel: Panel) -> stat.Panel:
    return (
        stat.Panel()
        .thresholds(_thresholds(panel))
        .color_mode(commons.BigValueColorMode.VALUE)
        .graph_mode(commons.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def _table(panel: Panel) -> table.Panel:
    """A row per series: its labels, and its value under the name of the query."""
    shown = {"Value": panel.queries[0].legend}
    organized = models.DataTransformerConfig(
        id_val="organize", options={"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": shown}
    )
    return table.Panel().thresholds(_thresholds(panel)).with_transformation(organized).filterable(filterable=True)


def _states(panel: Panel) -> statetimeline.Panel:
    return (
        statetimeline.Panel()
        .mappings([_words(panel.states)])
        .show_value(commons.VisibilityMode.NEVER)
        .merge_values(merge_values=True)
        .legend(_legend())
    )


def _legend() -> common.VizLegendOptions:
    """Below; the SDK's own default hides it."""
    return common.VizLegendOptions().placement(commons.LegendPlacement.BOTTOM).show_legend(show_legend=True)


def _words(states: Iterable[State]) -> models.ValueMap:
    return models.ValueMap(
        options={
            str(value): models.ValueMappingResult(text=state.word, color=state.colour, index=value)
            for value, state in enumerate(states)
        }
    )


def _thresholds(panel: Panel) -> sdk.ThresholdsConfig:
    """From the lowest value up; the first step has no value, since it begins at minus infinity."""
    bad: tuple[Colour, ...] = ("orange", "red")
    steps: list[tuple[float | None, Colour]]
    if panel.below:
        upwards = (*reversed(bad[-len(panel.below) :]), "green")
        steps = list(zip((None, *panel.below), upwards, strict=True))
    elif panel.above:
        steps = list(zip((None, *panel.above), ("green", *bad[-len(panel.above) :]), strict=True))
    else:
        steps = [(None, "blue")]
    return (
        sdk.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=colour) for value, colour in steps])
    )


_DRAWN: Mapping[Kind, Callable[[Panel], AnyPanel]] = {
    "lines": _lines,
    "stack": _stack,
    "number": _number,
    "table": _table,
    "states": _states,
}
