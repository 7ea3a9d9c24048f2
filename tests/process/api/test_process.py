"""The API as a process: over real sockets, until SIGTERM."""

import asyncio
import json
import socket
from pathlib import Path

import asyncpg
import httpx

from api.body import MAX_BODY_BYTES
from tests.support.builders.in_process_api import order_body
from tests.support.deadlines import ANSWER_SECONDS
from tests.support.probes.traces import TRACEPARENT, recorded
from tests.support.processes.api import RunningApi, api_process


async def test_on_sigterm_what_was_accepted_is_answered_and_the_exit_code_is_0(
    database_url: str, tmp_path: Path
) -> None:
    async def scenario(api: RunningApi) -> None:
        blocker = await asyncpg.connect(database_url)
        async with httpx.AsyncClient(base_url=api.url, timeout=30) as client:
            async with blocker.transaction():
                await blocker.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
                post = asyncio.create_task(client.post("/orders", json=order_body()))
                await until_it_waits()
                api.process.terminate()
                await until_refused(api.port)
            answer = await post
        assert answer.status_code == 202
        assert await blocker.fetchval("SELECT count(*) FROM orders") == 1
        await blocker.close()

    async def until_it_waits() -> None:
        # A connection of its own: a transaction sees the same activity for as long as it lasts.
        observer = await asyncpg.connect(database_url)
        waiting = False
        while not waiting:
            waiting = await observer.fetchval(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
                "AND application_name = 'waybill-api' AND wait_event_type = 'Lock')"
            )
        await observer.close()

    async def until_refused(port: int) -> None:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return
            writer.close()

    with api_process(database_url, tmp_path) as api:
        await scenario(api)
        assert api.process.wait(20) == 0
        events = [json.loads(line)["event"] for line in api.log.read_text().splitlines()]
    assert "Application shutdown complete." in events


def test_a_body_too_large_is_answered_although_the_client_is_still_sending(database_url: str, tmp_path: Path) -> None:
    with api_process(database_url, tmp_path) as api:
        body = b" " * (4 * MAX_BODY_BYTES)

        kind = {"content-type": "application/json"}
        answer = httpx.post(f"{api.url}/orders", content=body, headers=kind, timeout=ANSWER_SECONDS)

        assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
        claimed = raw(
            api.port,
            b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99999999999\r\n\r\n",
        )
        assert claimed.startswith(b"HTTP/1.1 413 ")
        assert api.stop() == 0


def test_an_order_is_accepted_although_no_log_line_can_be_written(database_url: str, tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full, api_process(database_url, tmp_path, stderr=full) as api:
        answer = httpx.post(f"{api.url}/orders", json=order_body())

        assert answer.status_code == 202
        assert httpx.get(api.url + answer.headers["location"]).json()["reference"] == order_body()["reference"]


def raw(port: int, request: bytes) -> bytes:
    """Send bytes, read until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
        link.sendall(request)
        return b"".join(iter(lambda: link.recv(65_536), b""))


def _pipelined(api: RunningApi, *headers: str) -> None:
    """Post orders over one connection, each with its header or none, without waiting for an answer in between."""
    requests = b""
    for number, header in enumerate(headers):
        body = json.dumps(order_body(reference=f"p{number}")).encode()
        head = f"POST /orders HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        requests += f"{head}{header}\r\n".encode() + body
    with socket.create_connection(("127.0.0.1", api.port), timeout=30) as connection:
        connection.sendall(requests)
        answers = b""
        while answers.count(b"HTTP/1.1 202") < len(headers):
            more = connection.recv(65_536)
            assert more, answers
            answers += more


def test_a_pipelined_request_has_nothing_of_the_one_before_it(database_url: str, tmp_path: Path) -> None:
    with api_process(database_url, tmp_path) as api:
        _pipelined(api, f"traceparent: {TRACEPARENT}\r\n", "", "")
        lines = [json.loads(line) for line in api.log.read_text().splitlines()]
    assert recorded(database_url) == [TRACEPARENT, None, None]
    assert len({line["trace_id"] for line in lines if line["event"] == "order_accepted"}) == 3
