"""Answers of Prometheus, and a Prometheus that does not answer."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
import pytest

from ops.doctor.prometheus_api import PrometheusApi, PrometheusError

T = TypeVar("T")


@asynccontextmanager
async def asked_opened(answer: Callable[[httpx.Request], httpx.Response]) -> AsyncIterator[PrometheusApi]:
    async with httpx.AsyncClient(base_url="http://prometheus", transport=httpx.MockTransport(answer)) as http:
        yield PrometheusApi(http)


async def asked(
    answer: Callable[[httpx.Request], httpx.Response], question: Callable[[PrometheusApi], Coroutine[Any, Any, T]]
) -> T:
    async with asked_opened(answer) as given:
        return await question(given)


async def test_a_refused_query_raises_an_error_with_the_reason() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(400, json={"status": "error", "error": "parse error: unclosed left brace"})

    with pytest.raises(PrometheusError, match=r"up\{.*unclosed left brace"):
        await asked(answer, lambda api: api.query("up{"))


async def test_no_answer_and_a_foreign_answer_raise_an_error_with_the_address() -> None:
    def silence(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    for answer in (silence, lambda _: httpx.Response(200, text="<html>")):
        with pytest.raises(PrometheusError, match="http://prometheus/api/v1/targets does not answer"):
            await asked(answer, PrometheusApi.targets)


async def test_a_range_has_the_values_of_each_series() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert dict(request.url.params) == {"query": "up", "start": "10.000", "end": "20.000", "step": "5"}
        series = {"metric": {"job": "api"}, "values": [[10, "1"], [15, "NaN"]]}
        return httpx.Response(200, json={"status": "success", "data": {"resultType": "matrix", "result": [series]}})

    async with asked_opened(answer) as api:
        (series,) = await api.query_range("up", 10, 20, 5)

    assert series.labels == {"job": "api"}
    assert series.values[0] == 1
    assert series.values[1] != series.values[1]
