"""Whether somebody would be told: Prometheus and whom it asks, and the dead letters that wait for somebody."""

from collections.abc import Sequence

import asyncpg

from ops.doctor.finding import Finding, Verdict
from ops.doctor.prometheus_api import PrometheusApi, PrometheusError, Target

_OPEN_DEAD_LETTERS = "SELECT count(*) FROM outbox.dead_letters WHERE state = 'open'"


async def prometheus(url: str | None) -> list[Finding]:
    """What Prometheus at `url` sees; nothing where it is not known."""
    if url is None:
        return []
    try:
        async with PrometheusApi.at(url) as api:
            return [targets_seen(url, await api.targets()), told(await api.alertmanagers())]
    except PrometheusError as error:
        return [Finding(Verdict.WARNING, "Prometheus", str(error), "nobody is alerted: see `make status` and its log")]


def targets_seen(url: str, targets: Sequence[Target]) -> Finding:
    """Whether Prometheus reaches everybody. One that it has not asked yet is not held against it."""
    down = [target for target in targets if target.health == "down"]
    if not down:
        return Finding(Verdict.GOOD, "Prometheus", f"{url} sees {len(targets)} targets")
    unseen = "; ".join(f"{target.job} {target.instance}: {target.error}" for target in down)
    return Finding(Verdict.WARNING, "Prometheus", f"does not reach {unseen}", "look at `make status` and that log")


def told(alertmanagers: Sequence[str]) -> Finding:
    """Whether an alert reaches anybody."""
    if alertmanagers:
        return Finding(Verdict.GOOD, "Alertmanager", f"{', '.join(alertmanagers)} is told of alerts")
    remedy = "name one in deploy/prometheus/targets/alertmanagers.yml and start anew; docs/observing.md says how"
    return Finding(Verdict.WARNING, "Alertmanager", "none: nobody is told of alerts", remedy)


async def open_dead_letters(connection: asyncpg.Connection) -> list[Finding]:
    """Whether something was given up and waits for somebody."""
    try:
        dead_letters = await connection.fetchval(_OPEN_DEAD_LETTERS)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return []  # the migrations' own finding says why
    if not dead_letters:
        return [Finding(Verdict.GOOD, "dead letters", "none is open")]
    remedy = "`waybill dead-letters groups` says why; docs/runbook.md what to do"
    return [Finding(Verdict.WARNING, "dead letters", f"{dead_letters} wait for somebody", remedy)]
