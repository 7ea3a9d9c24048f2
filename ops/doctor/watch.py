"""Checks of the alerting: Prometheus, its targets and Alertmanagers, and open dead letters. Called by `checks`."""

from collections.abc import Sequence

import asyncpg

from ops.doctor.finding import Finding, Verdict
from ops.doctor.prometheus_api import PrometheusApi, PrometheusError, Target
from outbox.dead_letters.still_open import count_open


async def prometheus(url: str | None) -> list[Finding]:
    """Findings on the Prometheus at `url`; none if its URL is unknown."""
    if url is None:
        return []
    try:
        async with PrometheusApi.at(url) as api:
            return [targets_reached(url, await api.targets()), alerted(await api.alertmanagers())]
    except PrometheusError as error:
        return [Finding(Verdict.WARNING, "Prometheus", str(error), "no alert is sent: see `make status` and its log")]


def targets_reached(url: str, targets: Sequence[Target]) -> Finding:
    """Check that Prometheus reaches its targets. A target that it has not scraped yet counts as reached."""
    down = [target for target in targets if target.health == "down"]
    if not down:
        return Finding(Verdict.GOOD, "Prometheus", f"{url} reaches {len(targets)} targets")
    unseen = "; ".join(f"{target.job} {target.instance}: {target.error}" for target in down)
    remedy = "see `make status` and the log of that program"
    return Finding(Verdict.WARNING, "Prometheus", f"does not reach {unseen}", remedy)


def alerted(alertmanagers: Sequence[str]) -> Finding:
    """Check that alerts are sent to an Alertmanager."""
    if alertmanagers:
        return Finding(Verdict.GOOD, "Alertmanager", f"{', '.join(alertmanagers)} receives the alerts")
    remedy = "name one in deploy/prometheus/targets/alertmanagers.yml and restart Prometheus; see docs/observing.md"
    return Finding(Verdict.WARNING, "Alertmanager", "none: alerts reach no one", remedy)


async def open_dead_letters(connection: asyncpg.Connection) -> list[Finding]:
    """Check for open dead letters."""
    try:
        dead_letters = await count_open(connection)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return []  # the finding on migrations gives the cause
    if not dead_letters:
        return [Finding(Verdict.GOOD, "dead letters", "none is open")]
    remedy = "`waybill dead-letters groups` lists the causes; docs/runbook.md has the remedies"
    return [Finding(Verdict.WARNING, "dead letters", f"{dead_letters} open", remedy)]
