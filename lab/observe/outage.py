"""An outage of SAP: its alert must fire while SAP is away, and resolve when SAP is back."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx

from ops.doctor.prometheus_api import PrometheusApi

ALERT = "WaybillOutsideAway"
QUEUE = "sap"
FIRING = f'ALERTS{{alertname="{ALERT}",queue="{QUEUE}",alertstate="firing"}}'
POLL_SECONDS = 0.5
# The circuit opens with the next delivery and probes every two seconds; the rule's minutes are scaled to seconds. The
# rest is for a busy machine.
PATIENCE_SECONDS = 40.0
HTTP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Outage:
    """Seconds from the outage to the firing alert, and from its end to the resolved one; None: that did not happen."""

    fired_after: float | None
    resolved_after: float | None

    @property
    def fired_and_resolved(self) -> bool:
        """Whether the alert did both."""
        return self.fired_after is not None and self.resolved_after is not None


async def outage(prometheus: PrometheusApi, sap_url: str, send: Callable[[], Awaitable[object]]) -> Outage:
    """SAP answers 503 to everything until its alert fires; `send` gives SAP's worker orders meanwhile."""
    if await prometheus.query(FIRING):
        return Outage(None, None)  # an alert that fires already would prove nothing
    started = time.monotonic()
    await _set_outage(sap_url, away=True)
    try:
        await send()
        fired = await _seconds_until(prometheus, started, firing=True)
    finally:
        await _set_outage(sap_url, away=False)
    resolved = await _seconds_until(prometheus, time.monotonic(), firing=False) if fired is not None else None
    return Outage(fired, resolved)


async def _set_outage(sap_url: str, *, away: bool) -> None:
    async with httpx.AsyncClient(timeout=HTTP_SECONDS, trust_env=False) as http:
        (await http.put(f"{sap_url}/sandbox/faults", json={"outage": away})).raise_for_status()


async def _seconds_until(prometheus: PrometheusApi, since: float, *, firing: bool) -> float | None:
    """Seconds until the alert fires, or no longer fires; None if that takes too long."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if bool(await prometheus.query(FIRING)) is firing:
            return time.monotonic() - since
        await asyncio.sleep(POLL_SECONDS)
    return None
