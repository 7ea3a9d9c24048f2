"""The API's answers while the database is away, and its metrics."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.builders.in_process_api import order_body, running_api

UNREACHABLE = "postgresql://waybill@127.0.0.1:1/waybill"


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A database that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"postgresql://waybill@127.0.0.1:{listener.getsockname()[1]}/waybill"


async def test_an_absent_database_is_a_503_that_says_to_come_again(tmp_path: Path) -> None:
    async with running_api(UNREACHABLE, tmp_path) as api:
        for answer in (
            await api.client.post("/orders", json=order_body()),
            await api.client.get("/orders"),
            await api.client.get("/readyz"),
        ):
            assert answer.status_code == answer.json()["status"] == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) > 0
            assert "127.0.0.1" not in answer.text
        assert (await api.client.get("/healthz")).json() == {"status": "ok"}


async def test_a_database_that_says_nothing_is_not_ready(tmp_path: Path, silent_server: str) -> None:
    async with running_api(silent_server, tmp_path) as api:
        assert (await api.client.get("/readyz")).status_code == 503


async def test_a_database_without_the_schema_is_a_503_that_says_what_makes_it(
    tmp_path: Path, empty_database_url: str
) -> None:
    async with running_api(empty_database_url, tmp_path) as api:
        for answer in (
            await api.client.get("/readyz"),
            await api.client.get("/orders"),
            await api.client.post("/orders", json=order_body()),
        ):
            assert answer.status_code == 503
            assert "waybill migrate" in answer.json()["detail"]


async def test_a_connection_that_breaks_in_mid_statement_is_a_503_and_the_next_request_works(
    tmp_path: Path, database_url: str
) -> None:
    async def end_the_waiting_backend() -> None:
        # A connection of its own: a transaction sees the same activity for as long as it lasts.
        observer = await asyncpg.connect(database_url)
        ended = None
        while not ended:
            ended = await observer.fetchval(
                "SELECT bool_or(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'waybill-api' AND wait_event_type = 'Lock'"
            )
        await observer.close()

    async with running_api(database_url, tmp_path) as api:
        assert (await api.client.get("/readyz")).status_code == 200
        other = await asyncpg.connect(database_url)
        try:
            async with other.transaction():
                await other.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
                waiting = asyncio.create_task(api.client.post("/orders", json=order_body()))
                await end_the_waiting_backend()
                answer = await waiting
        finally:
            await other.close()
        assert answer.status_code == 503
        assert "nothing is done twice" in answer.json()["detail"]
        assert (await api.client.post("/orders", json=order_body())).status_code == 202


async def test_an_order_that_finds_no_room_in_the_outbox_is_a_503_of_its_own_kind(
    tmp_path: Path, database_url: str
) -> None:
    other = await asyncpg.connect(database_url)
    async with running_api(database_url, tmp_path) as api:
        await other.execute("SELECT setval('outbox.event_ids', 900000000000)")
        answer = await api.client.post("/orders", json=order_body())
        assert answer.status_code == answer.json()["status"] == 503
        assert answer.json()["type"] == "urn:waybill:problem:outbox-full"
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) > 0
        assert "900000000001" not in answer.text  # our insides are in the log
        await other.execute("SELECT setval('outbox.event_ids', 1)")
        assert (await api.client.post("/orders", json=order_body())).status_code == 202
    await other.close()


async def test_requests_wait_their_turn_for_a_connection(tmp_path: Path, database_url: str) -> None:
    async with running_api(database_url, tmp_path, database_pool_size=2) as api:
        posts = [api.client.post("/orders", json=order_body(reference=f"r{number}")) for number in range(40)]
        assert {answer.status_code for answer in await asyncio.gather(*posts)} == {202}


async def test_metrics_count_by_route_template_and_never_by_path(tmp_path: Path, database_url: str) -> None:
    async with running_api(database_url, tmp_path) as api:
        order_id = (await api.client.post("/orders", json=order_body())).json()["order_id"]
        await api.client.post("/orders", json=order_body())
        await api.client.post("/orders", json=order_body(reference=""))
        await api.client.post("/orders", content=b"{", headers={"content-type": "application/json"})
        await api.client.get(f"/orders/{order_id}")
        await api.client.get("/some/where")
        await api.client.get("/else/where")
        await api.client.request("BREW", "/orders")
        answer = await api.client.get("/metrics")

        lines = set(answer.text.splitlines())
        assert answer.headers["content-type"].startswith("text/plain")
        assert {
            'waybill_http_requests_total{method="POST",route="/orders",status="202"} 1.0',
            'waybill_http_requests_total{method="POST",route="/orders",status="409"} 1.0',
            'waybill_http_requests_total{method="GET",route="/orders/{order_id}",status="200"} 1.0',
            'waybill_http_requests_total{method="GET",route="none",status="404"} 2.0',
            'waybill_http_requests_total{method="other",route="/orders",status="405"} 1.0',
            'waybill_http_request_seconds_count{method="POST",route="/orders",status="202"} 1.0',
            "waybill_orders_accepted_total 1.0",
            'waybill_orders_refused_total{reason="reference-taken"} 1.0',
            'waybill_orders_refused_total{reason="unacceptable-fields"} 1.0',
            'waybill_orders_refused_total{reason="invalid-json"} 1.0',
        } <= lines
        assert order_id not in answer.text
        assert "where" not in answer.text
