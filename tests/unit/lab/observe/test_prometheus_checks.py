"""The alerts of a system at rest, by Prometheus's answers."""

import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from types import SimpleNamespace

import httpx
import pytest

from lab.observe import prometheus_checks
from lab.observe.panels import Panel
from lab.observe.prometheus_checks import REST_SECONDS
from lab.observe.rules import WATCHDOG
from lab.observe.time_scaling import FACTOR
from ops.doctor.prometheus_api import PrometheusApi

LATE = "WaybillQueueLong"


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test whose answer never comes does not wait: the clock advances by a second at each poll."""
    monkeypatch.setattr(prometheus_checks, "time", SimpleNamespace(monotonic=count().__next__, time=time.time))
    monkeypatch.setattr(prometheus_checks, "PATIENCE_SECONDS", 10)
    monkeypatch.setattr(prometheus_checks, "POLL_SECONDS", 0)
    monkeypatch.setattr(prometheus_checks, "REST_SECONDS", 0.01)


async def at_rest(*answers: list[tuple[str, str]], fired: tuple[str, ...] = ()) -> set[str]:
    """The alerts at rest if ALERTS has these names and states one after another, the last for ever.

    `fired` did so at some moment of the rest.
    """
    left: Iterator[list[tuple[str, str]]] = iter(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        series: list[dict[str, object]]
        if request.url.path.endswith("query_range"):
            series = [{"metric": {"alertname": name}, "values": [[0, "1"]]} for name in fired]
        else:
            series = [
                {"metric": {"alertname": name, "alertstate": state}, "value": [0, "1"]}
                for name, state in next(left, answers[-1])
            ]
        return httpx.Response(200, json={"status": "success", "data": {"resultType": "vector", "result": series}})

    async with httpx.AsyncClient(base_url="http://prometheus", transport=httpx.MockTransport(answer)) as http:
        return await prometheus_checks.firing_at_rest(PrometheusApi(http))


QUIET = [(WATCHDOG, "firing")]
PENDING = [(WATCHDOG, "firing"), (LATE, "pending")]
LOUD = [(WATCHDOG, "firing"), (LATE, "firing")]


async def test_without_the_watchdog_the_rest_is_not_judged_sound() -> None:
    assert await at_rest([], QUIET) == {WATCHDOG}
    assert await at_rest([]) == set()


async def test_one_of_an_alerts_series_that_fires_is_enough() -> None:
    assert await at_rest([*LOUD, (LATE, "pending")]) == {WATCHDOG, LATE}


async def test_an_alert_that_the_start_has_fired_may_resolve() -> None:
    assert await at_rest(LOUD, QUIET, fired=(WATCHDOG,)) == {WATCHDOG}


async def test_an_alert_that_fires_for_a_moment_of_the_rest_counts_though_it_has_resolved() -> None:
    assert await at_rest(QUIET, fired=(WATCHDOG, LATE)) == {WATCHDOG, LATE}


async def test_an_alert_that_is_pending_as_the_rest_ends_is_waited_for() -> None:
    assert await at_rest(QUIET, PENDING, QUIET) == {WATCHDOG}
    assert await at_rest(QUIET, PENDING, LOUD) == {WATCHDOG, LATE}
    assert await at_rest(QUIET, PENDING) == {WATCHDOG, LATE}


def test_the_rest_is_longer_than_most_rules_wait() -> None:
    """A rule that holds from the rest's first moment has fired in it; a longer one is pending at its end."""
    assert timedelta(seconds=REST_SECONDS) > timedelta(minutes=5) / FACTOR


@pytest.mark.parametrize(
    ("panel", "series"),
    [
        (Panel("Flow", "Over a time", "a", None), 1),
        (Panel("Flow", "Now", "a", None, instant=True), 0),
        (Panel("Flow", "Now, if ever", "a", "nothing is open.", instant=True), 1),
    ],
)
async def test_a_panel_that_shows_one_moment_is_asked_for_that_moment(panel: Panel, series: int) -> None:
    """Prometheus had a value once, and has none now."""

    def answer(request: httpx.Request) -> httpx.Response:
        once = [{"metric": {}, "values": [[0, "1"]]}] if request.url.path.endswith("query_range") else []
        return httpx.Response(200, json={"status": "success", "data": {"resultType": "matrix", "result": once}})

    async def run() -> list[prometheus_checks.CheckedPanel]:
        async with httpx.AsyncClient(base_url="http://prometheus", transport=httpx.MockTransport(answer)) as http:
            return await prometheus_checks.check_panels(PrometheusApi(http), [panel], 0.0)

    assert await run() == [prometheus_checks.CheckedPanel(panel, series)]
