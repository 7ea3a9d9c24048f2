"""What is taken for the alarms of a system at rest, by what Prometheus answers."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from ops.observe import sight
from ops.observe.rules import WATCHDOG
from ops.prometheus_api import PrometheusApi

LATE = "WaybillQueueLong"


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for what a test says never comes."""
    monkeypatch.setattr(sight, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(sight, "LOOK_SECONDS", 0.01)


def at_rest(*answers: list[tuple[str, str]]) -> set[str]:
    """What is found where ALERTS has these names and states one time after another, the last for ever."""
    left: Iterator[list[tuple[str, str]]] = iter(answers)

    def answer(_: httpx.Request) -> httpx.Response:
        series = [
            {"metric": {"alertname": name, "alertstate": state}, "value": [0, "1"]}
            for name, state in next(left, answers[-1])
        ]
        return httpx.Response(200, json={"status": "success", "data": {"resultType": "vector", "result": series}})

    async def run() -> set[str]:
        async with httpx.AsyncClient(base_url="http://prometheus", transport=httpx.MockTransport(answer)) as http:
            return await sight.firing_at_rest(PrometheusApi(http))

    return asyncio.run(run())


def test_before_the_watchdog_fires_nothing_is_known() -> None:
    assert at_rest([], [(WATCHDOG, "firing"), (LATE, "firing")]) == {WATCHDOG, LATE}
    assert at_rest([]) == set()


def test_one_of_an_alerts_series_that_fires_is_enough() -> None:
    assert at_rest([(WATCHDOG, "firing"), (LATE, "firing"), (LATE, "pending")]) == {WATCHDOG, LATE}


def test_what_the_start_has_set_off_may_end() -> None:
    assert at_rest([(WATCHDOG, "firing"), (LATE, "firing")], [(WATCHDOG, "firing")]) == {WATCHDOG}


def test_what_is_about_to_fire_is_waited_for() -> None:
    pending = [(WATCHDOG, "firing"), (LATE, "pending")]

    assert at_rest(pending, [(WATCHDOG, "firing"), (LATE, "firing")]) == {WATCHDOG, LATE}
    assert at_rest(pending) == {WATCHDOG}
