"""A read-only client of Prometheus's HTTP API: values, targets, rules and Alertmanagers."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from ops.errors import OpsError

ANSWER_SECONDS = 10.0


class PrometheusError(OpsError):
    """Prometheus does not answer or refuses a query; the message gives the cause."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The current value of one series."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Series:
    """The values of one series over a range of time."""

    labels: Mapping[str, str]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Target:
    """A target of scrapes. `health` is up, down or unknown (not scraped yet)."""

    job: str
    instance: str
    health: str
    error: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A loaded rule, alerting (`alerts`) or recording. `health` is ok, err or unknown (not evaluated yet)."""

    name: str
    alerts: bool
    health: str
    error: str


class PrometheusApi:
    """The API of one Prometheus."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    @classmethod
    @asynccontextmanager
    async def at(cls, url: str) -> AsyncIterator["PrometheusApi"]:
        """The API of the Prometheus at `url`, open for the block."""
        async with httpx.AsyncClient(base_url=url, timeout=ANSWER_SECONDS, trust_env=False) as http:
            yield cls(http)

    async def query(self, expression: str) -> list[Sample]:
        """The series of an expression with their current values."""
        data = await self._data("/api/v1/query", {"query": expression})
        return [Sample(one["metric"], float(one["value"][1])) for one in data["result"]]

    async def query_range(self, expression: str, begin: float, end: float, step: float) -> list[Series]:
        """The series of an expression from `begin` to `end` (Unix time), with a value every `step` seconds."""
        span = {"start": f"{begin:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        data = await self._data("/api/v1/query_range", {"query": expression, **span})
        return [Series(one["metric"], [float(value) for _, value in one["values"]]) for one in data["result"]]

    async def targets(self) -> list[Target]:
        """All active targets."""
        found = (await self._data("/api/v1/targets", {"state": "active"}))["activeTargets"]
        return [
            Target(one["labels"]["job"], one["labels"]["instance"], one["health"], one["lastError"]) for one in found
        ]

    async def alertmanagers(self) -> list[str]:
        """The URL of each active Alertmanager."""
        return [one["url"] for one in (await self._data("/api/v1/alertmanagers", {}))["activeAlertmanagers"]]

    async def rules(self) -> list[Rule]:
        """All loaded rules, in their order."""
        groups = (await self._data("/api/v1/rules", {}))["groups"]
        return [
            Rule(rule["name"], rule["type"] == "alerting", rule["health"], rule.get("lastError", ""))
            for group in groups
            for rule in group["rules"]
        ]

    async def _data(self, path: str, parameters: Mapping[str, str]) -> Any:  # noqa: ANN401  # JSON
        try:
            response = await self._http.get(path, params=parameters)
            answer = response.json()
        except (httpx.HTTPError, ValueError) as error:
            text, where = str(error) or type(error).__name__, str(self._http.base_url).rstrip("/")
            raise PrometheusError(f"Prometheus at {where}{path} does not answer: {text}") from error
        if answer.get("status") != "success":
            raise PrometheusError(f"Prometheus refuses {dict(parameters)}: {answer.get('error')}")
        return answer["data"]
