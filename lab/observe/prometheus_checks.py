"""Checks against Prometheus: every target up, every rule evaluated, which alerts fire, data for every panel."""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from lab.observe.panels import Panel
from lab.observe.rules import WATCHDOG
from ops.doctor.prometheus_api import PrometheusApi, PrometheusError, Rule, Target

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 20.0
REST_SECONDS = 12.0  # most rules wait for five minutes, scaled to ten seconds
STEP_SECONDS = 5.0
FIRING = 'ALERTS{alertstate="firing"}'


@dataclass(frozen=True, slots=True)
class CheckedPanel:
    """The answer to a panel's query: the number of series with at least one number, or the error."""

    panel: Panel
    series: int
    error: str = ""

    @property
    def well(self) -> bool:
        """Whether it shows data, or is a panel that is empty when all is well."""
        return not self.error and (self.series > 0 or self.panel.empty_when_well is not None)


async def targets_up(prometheus: PrometheusApi) -> list[Target]:
    """Every target, as soon as all are up; or as they are when that takes too long."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        targets = await prometheus.targets()
        if (targets and all(target.health == "up" for target in targets)) or time.monotonic() > until:
            return targets
        await asyncio.sleep(POLL_SECONDS)


async def rules_evaluated(prometheus: PrometheusApi) -> list[Rule]:
    """Every rule, as soon as each was evaluated; or as they are when that takes too long."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        rules = await prometheus.rules()
        if (rules and all(rule.health != "unknown" for rule in rules)) or time.monotonic() > until:
            return rules
        await asyncio.sleep(POLL_SECONDS)


async def firing_at_rest(prometheus: PrometheusApi) -> set[str]:
    """Alerts that fire before the first order: the watchdog, and false alarms.

    First alerts that the start has fired may resolve, and the watchdog must fire: before it no rule was evaluated. From
    then on every alert that fires for a moment counts. An alert that is pending when the rest is over has time to fire
    or to resolve; if it does neither, it counts as well.
    """
    await _quiet(prometheus)
    started = time.time()
    await asyncio.sleep(REST_SECONDS)
    active = await _quiet(prometheus)
    return active | await _fired(prometheus, started)


async def _quiet(prometheus: PrometheusApi) -> set[str]:
    """Alerts that fire or are pending, as soon as only the watchdog does; or as they are when that takes too long."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        active = {one.labels["alertname"] for one in await prometheus.query("ALERTS")}
        if active == {WATCHDOG} or time.monotonic() > until:
            return active
        await asyncio.sleep(POLL_SECONDS)


async def fired_since(prometheus: PrometheusApi, started: float) -> list[str]:
    """The names of the alerts that have fired since a moment (Unix time), without the watchdog."""
    return sorted(await _fired(prometheus, started) - {WATCHDOG})


async def _fired(prometheus: PrometheusApi, started: float) -> set[str]:
    series = await prometheus.query_range(FIRING, started, time.time(), 1.0)
    return {one.labels["alertname"] for one in series}


async def check_panels(prometheus: PrometheusApi, panels: Sequence[Panel], started: float) -> list[CheckedPanel]:
    """Run each panel's query as a dashboard does: over the time since a moment (Unix time), or for the values now.

    A panel that is empty when all is well may be empty now: then its query runs over the time since.
    """
    return [await _check_panel(prometheus, panel, started) for panel in panels]


async def _check_panel(prometheus: PrometheusApi, panel: Panel, started: float) -> CheckedPanel:
    try:
        series = await _now(prometheus, panel) if panel.instant else 0
        if not series and (not panel.instant or panel.empty_when_well is not None):
            series = await _over_time(prometheus, panel, started)
    except PrometheusError as error:
        return CheckedPanel(panel, 0, str(error))
    return CheckedPanel(panel, series)


async def _now(prometheus: PrometheusApi, panel: Panel) -> int:
    return sum(not math.isnan(one.value) for one in await prometheus.query(panel.expr))


async def _over_time(prometheus: PrometheusApi, panel: Panel, started: float) -> int:
    series = await prometheus.query_range(panel.expr, started, time.time(), STEP_SECONDS)
    return sum(any(not math.isnan(value) for value in one.values) for one in series)
