"""What Prometheus sees: every target up, every shipped rule loaded and sound, data for every panel."""

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
REST_SECONDS = 12.0  # most rules wait for five minutes, hastened to ten seconds
STEP_SECONDS = 5.0
FIRING = 'ALERTS{alertstate="firing"}'


@dataclass(frozen=True, slots=True)
class CheckedPanel:
    """What a panel's query brought: series with at least one number, and what was wrong with the query."""

    panel: Panel
    series: int
    error: str = ""

    @property
    def well(self) -> bool:
        """Whether it shows something, or is one that has nothing to show when all is well."""
        return not self.error and (self.series > 0 or self.panel.empty_when_well is not None)


async def targets_up(prometheus: PrometheusApi) -> list[Target]:
    """Every target, as soon as none is down or not asked yet; or as they are when that takes too long."""
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
    """What fires though nothing has happened yet: the watchdog, and false alarms.

    What the start has set off may end first, and the watchdog is waited for, since before it no rule has said anything.
    From then on whatever fires for a moment counts. What is about to fire when the rest is over is given the time to do
    so or to end; if it does neither, it counts as well.
    """
    await _quiet(prometheus)
    begun = time.time()
    await asyncio.sleep(REST_SECONDS)
    active = await _quiet(prometheus)
    return active | await _fired(prometheus, begun)


async def _quiet(prometheus: PrometheusApi) -> set[str]:
    """What fires or is about to, as soon as it is the watchdog alone; or as it is when that takes too long."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        active = {one.labels["alertname"] for one in await prometheus.query("ALERTS")}
        if active == {WATCHDOG} or time.monotonic() > until:
            return active
        await asyncio.sleep(POLL_SECONDS)


async def fired_since(prometheus: PrometheusApi, begun: float) -> list[str]:
    """The names of the alerts that have fired since a moment (Unix time), without the one that always does."""
    return sorted(await _fired(prometheus, begun) - {WATCHDOG})


async def _fired(prometheus: PrometheusApi, begun: float) -> set[str]:
    series = await prometheus.query_range(FIRING, begun, time.time(), 1.0)
    return {one.labels["alertname"] for one in series}


async def check_panels(prometheus: PrometheusApi, panels: Sequence[Panel], begun: float) -> list[CheckedPanel]:
    """Each panel's query as a dashboard would ask: over the time since a moment (Unix time), or for the values now.

    What is empty when all is well may be so now: then it is asked whether it has shown anything since.
    """
    return [await _seen(prometheus, panel, begun) for panel in panels]


async def _seen(prometheus: PrometheusApi, panel: Panel, begun: float) -> CheckedPanel:
    try:
        series = await _now(prometheus, panel) if panel.instant else 0
        if not series and (not panel.instant or panel.empty_when_well is not None):
            series = await _over_time(prometheus, panel, begun)
    except PrometheusError as error:
        return CheckedPanel(panel, 0, str(error))
    return CheckedPanel(panel, series)


async def _now(prometheus: PrometheusApi, panel: Panel) -> int:
    return sum(not math.isnan(one.value) for one in await prometheus.query(panel.expr))


async def _over_time(prometheus: PrometheusApi, panel: Panel, begun: float) -> int:
    series = await prometheus.query_range(panel.expr, begun, time.time(), STEP_SECONDS)
    return sum(any(not math.isnan(value) for value in one.values) for one in series)
