"""What the API counts of orders, and what of it is there before the first request."""

from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from api.body import MAX_BODY_BYTES
from tests.support.builders.in_process_api import Api, order_body, running_api

JSON = {"content-type": "application/json"}


async def families(api: Api) -> dict[str, Metric]:
    page = await api.client.get("/metrics")
    return {family.name: family for family in text_string_to_metric_families(page.text)}


async def refusals(api: Api) -> dict[str, float]:
    samples = (await families(api))["waybill_orders_refused"].samples
    return {sample.labels["reason"]: sample.value for sample in samples if sample.name.endswith("_total")}


async def test_what_the_objectives_are_about_is_there_before_the_first_order(tmp_path: Path, database_url: str) -> None:
    async with running_api(database_url, tmp_path) as api:
        found = await families(api)
        for name, suffix in (("waybill_http_requests", "_total"), ("waybill_http_request_seconds", "_count")):
            assert {
                sample.labels["status"]: sample.value
                for sample in found[name].samples
                if sample.name == name + suffix
                and (sample.labels["route"], sample.labels["method"]) == ("/orders", "POST")
            } == dict.fromkeys(("202", "499", "500", "503"), 0)
        bounds = {sample.labels.get("le") for sample in found["waybill_http_request_seconds"].samples}
        assert "0.2" in bounds


async def test_every_refusal_of_an_order_is_counted_by_a_reason_that_was_there_from_the_start(
    tmp_path: Path, database_url: str
) -> None:
    async with running_api(database_url, tmp_path) as api:
        before = await refusals(api)
        assert set(before.values()) == {0}
        body = order_body()
        sent = [
            await api.client.post("/orders", json=body),
            await api.client.post("/orders", json=body),
            await api.client.post("/orders", json={}),
            await api.client.post("/orders", content=b"{", headers=JSON),
            await api.client.post("/orders", content=b"{}", headers={"content-type": "text/plain"}),
            await api.client.post("/orders", content=b"{}", headers={**JSON, "content-encoding": "gzip"}),
            await api.client.post("/orders", content=b" " * (MAX_BODY_BYTES + 1), headers=JSON),
        ]
        assert [answer.status_code for answer in sent] == [202, 409, 422, 400, 415, 415, 413]
        assert await refusals(api) == dict.fromkeys(before, 1)
