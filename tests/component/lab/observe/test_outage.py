"""The outage of an observation: SAP is away until its alert fires, and back whatever the alert did."""

from collections.abc import Iterator
from itertools import count
from types import SimpleNamespace

import httpx
import pytest

from lab.observe import outage as outages
from lab.observe.outage import Outage, outage
from ops.doctor.prometheus_api import PrometheusApi
from tests.support.processes.sandboxes import Sap

QUIET: list[object] = []
FIRING: list[object] = [{"metric": {"alertname": outages.ALERT}, "value": [0, "1"]}]


async def outage_with(sap: Sap, answers: list[list[object]]) -> tuple[Outage, list[bool]]:
    """An outage with a Prometheus that gives these answers, the last for ever; SAP's state while orders are sent."""
    left: Iterator[list[object]] = iter(answers)
    away: list[bool] = []

    def answer(_: httpx.Request) -> httpx.Response:
        result = next(left, answers[-1])
        return httpx.Response(200, json={"status": "success", "data": {"resultType": "vector", "result": result}})

    async def send() -> None:
        away.append(sap.get("/sandbox/faults")["outage"])

    async with httpx.AsyncClient(base_url="http://prometheus", transport=httpx.MockTransport(answer)) as http:
        return await outage(PrometheusApi(http), sap.url, send), away


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test whose alert never fires does not wait: the clock advances by a second whenever it is read.

    It is read at each poll, so patience is a number of polls, however long the machine takes for one.
    """
    monkeypatch.setattr(outages, "time", SimpleNamespace(monotonic=count().__next__))
    monkeypatch.setattr(outages, "PATIENCE_SECONDS", 10)
    monkeypatch.setattr(outages, "POLL_SECONDS", 0)


async def test_an_alert_that_fires_and_resolves_is_observed(sap: Sap) -> None:
    seen, away = await outage_with(sap, [QUIET, QUIET, FIRING, FIRING, QUIET])

    assert seen.fired_and_resolved
    assert away == [True]
    assert sap.get("/sandbox/faults")["outage"] is False


async def test_sap_is_back_also_when_the_alert_never_fires(sap: Sap) -> None:
    seen, away = await outage_with(sap, [QUIET])

    assert seen == Outage(None, None)
    assert away == [True]
    assert sap.get("/sandbox/faults")["outage"] is False


async def test_an_alert_that_does_not_resolve_fails(sap: Sap) -> None:
    seen, _ = await outage_with(sap, [QUIET, FIRING])

    assert seen.fired_after is not None
    assert not seen.fired_and_resolved


async def test_an_alert_that_fires_before_would_prove_nothing(sap: Sap) -> None:
    seen, away = await outage_with(sap, [FIRING])

    assert seen == Outage(None, None)
    assert away == []
