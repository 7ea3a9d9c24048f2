"""The result of an observation, its failures, and its last line. Pure."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from lab.observe.expected_alerts import MUST_FIRE, silent, unexpected
from lab.observe.outage import ALERT, Outage
from lab.observe.prometheus_checks import CheckedPanel
from lab.observe.rule_tests import UnitTestResult
from lab.observe.rules import WATCHDOG
from lab.observe.totals import ComparedTotal
from ops.doctor.prometheus_api import Rule, Target


@dataclass(frozen=True, slots=True)
class Observed:
    """One run. `shipped` are the alerts of the shipped file, `tested` those with a unit test that passes.

    `at_rest` are alerts that fired before the first order, `fired` those after it, without the watchdog. `unsettled`
    counts deliveries that were neither done nor dead when the totals were compared.
    """

    targets: Sequence[Target]
    shipped: Collection[str]
    tested: UnitTestResult
    rules: Sequence[Rule]
    panels: Sequence[CheckedPanel]
    outage: Outage
    at_rest: Collection[str]
    fired: Sequence[str]
    compared: Sequence[ComparedTotal]
    unsettled: int

    @property
    def alerts(self) -> set[str]:
        """The names of the alerts that are loaded."""
        return {rule.name for rule in self.rules if rule.alerts}

    @property
    def shown_to_fire(self) -> frozenset[str]:
        """The names of the shipped alerts that a unit test shows to fire."""
        return self.tested.alerts & set(self.shipped)

    @property
    def totals_match(self) -> bool:
        """Whether each total in Prometheus equals the count at its place, with every delivery settled."""
        return self.unsettled == 0 and all(one.equal for one in self.compared)

    def line(self) -> str:
        """The last line, as JSON."""
        figures = {
            "panels": len(self.panels),
            "panels_with_data": sum(seen.series > 0 for seen in self.panels),
            "alerts": len(self.alerts),
            "alerts_tested": len(self.shown_to_fire),
            "alert_fired_and_resolved": self.outage.fired_and_resolved,
            "totals_match": self.totals_match,
        }
        return json.dumps(figures, separators=(",", ":"))


def failures(observed: Observed) -> list[str]:
    """The failures, a sentence each; none when every check holds."""
    return [
        *_targets(observed.targets),
        *_rules(observed),
        *_alerts(observed),
        *_panels(observed.panels),
        *_outage(observed.outage),
        *_totals(observed),
    ]


def _targets(targets: Sequence[Target]) -> Iterator[str]:
    if not targets:
        yield "Prometheus has no target at all"
    for target in targets:
        if target.health != "up":
            yield f"the target {target.job} {target.instance} is {target.health}: {target.error or 'not scraped yet'}"


def _rules(observed: Observed) -> Iterator[str]:
    for name in sorted(set(observed.shipped) - observed.alerts):
        yield f"the alert {name} is shipped and not loaded"
    if observed.tested.error:
        yield observed.tested.error
    for name in sorted(set() if observed.tested.error else set(observed.shipped) - observed.tested.alerts):
        yield f"the alert {name} has no unit test that passes"
    for rule in observed.rules:
        if rule.health != "ok":
            kind = "alert" if rule.alerts else "recording rule"
            yield f"the {kind} {rule.name} cannot be evaluated: {rule.error or rule.health}"


def _alerts(observed: Observed) -> Iterator[str]:
    if WATCHDOG not in observed.at_rest:
        yield f"{WATCHDOG} does not fire, so the check at rest says nothing about the other alerts"
    for name in sorted(set(observed.at_rest) - {WATCHDOG}):
        yield f"the alert {name} fires though nothing has happened"
    for name in unexpected(observed.fired):
        yield f"the alert {name} fired, and no fault of this run explains it"
    for name in silent(observed.fired):
        if name != ALERT:  # the outage's own failure names it
            yield f"the alert {name} did not fire, though {MUST_FIRE[name]}"


def _panels(panels: Sequence[CheckedPanel]) -> Iterator[str]:
    if not panels:
        yield "there is no panel at all"
    for seen in panels:
        if seen.error:
            yield f"the panel {seen.panel.dashboard} / {seen.panel.title}: {seen.error}"
        elif not seen.well:
            yield f"the panel {seen.panel.dashboard} / {seen.panel.title} shows nothing: {seen.panel.expr}"


def _outage(outage: Outage) -> Iterator[str]:
    if outage.fired_after is None:
        yield f"{ALERT} did not fire while SAP was away, or did before"
    elif outage.resolved_after is None:
        yield f"{ALERT} did not resolve when SAP was back"


def _totals(observed: Observed) -> Iterator[str]:
    if observed.unsettled:
        yield f"{observed.unsettled} deliveries are neither done nor dead, so no total is final"
    for one in observed.compared:
        for kind in one.differing:
            measured, expected = one.prometheus.get(kind, 0), one.expected.get(kind, 0)
            name = f"{one.total.name} ({kind})" if kind else one.total.name
            yield f"{name}: Prometheus has {measured:g}, expected are {expected:g}"
