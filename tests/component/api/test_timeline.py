"""An order's timeline over HTTP: its entries, the gaps between them, and what the order waits for."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from outbox.cursor.log import ConfirmedPage, advance
from outbox.cursor.reader import Reader
from outbox.dead_letters.queries import Selection
from outbox.dead_letters.replay import discard
from tests.support.builders.dead_letters import ANNA, dead_letter_database, dead_letter_for
from tests.support.builders.events import new_event
from tests.support.builders.in_process_api import Api, order_body, running_api
from tests.support.probes.database import connected
from tests.support.probes.outbox_reader import lead
from tests.support.proxies.postgres_wire_counter import counted_statements

NOBODYS = "01a204c4-3093-71e8-b7ef-e9c9d43358a7"


async def placed(api: Api, reference: str = "r") -> str:
    answer = await api.client.post("/orders", json=order_body(reference=reference))
    return str(answer.json()["order_id"])


async def read_timeline(api: Api, order_id: str) -> dict[str, Any]:
    answer = await api.client.get(f"/orders/{order_id}/timeline")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    timeline: dict[str, Any] = answer.json()
    return timeline


async def publish(database_url: str) -> None:
    """As the relay does it: everything that is committed is sent now and confirmed a second later."""
    async with connected(database_url) as (connection,):
        await lead(connection)
        reader = Reader(connection, 100)
        await reader.resume()
        while (page := await reader.next_page()) is not None:
            sent = datetime.now(UTC)
            await advance(connection, 1, [ConfirmedPage(page, sent, sent + timedelta(seconds=1))])


async def test_a_new_order_is_accepted_committed_published_and_confirmed(database_url: str, tmp_path: Path) -> None:
    async with running_api(database_url, tmp_path) as api, dead_letter_database(database_url) as _:
        order_id = await placed(api)
        before = await read_timeline(api, order_id)
        assert [entry["what"] for entry in before["entries"]] == ["accepted", "committed"]
        assert before["waits_for"] == [
            {
                "step": "validate_order",
                "queue": "validation",
                "event": "order.placed",
                "blocked_by": "not begun: its event waits in the outbox",
            }
        ]
        await publish(database_url)
        timeline = await read_timeline(api, order_id)
        assert (timeline["order_id"], timeline["status"], timeline["remarks"]) == (order_id, "pending", [])
        assert [entry["what"] for entry in timeline["entries"]] == ["accepted", "committed", "published", "confirmed"]
        assert timeline["entries"][:2] == before["entries"]
        assert {(entry["generation"], entry["attempt"]) for entry in timeline["entries"]} == {(None, None)}
        assert [entry["event"] for entry in timeline["entries"]] == [None, *["order.placed"] * 3]
        assert [entry["gap_ms"] is None for entry in timeline["entries"]] == [True, False, False, False]
        assert timeline["entries"][3]["gap_ms"] == 1000
        assert timeline["waits_for"][0]["blocked_by"] == "not begun: its event is in queue validation"


async def test_a_discarded_dead_letter_is_in_the_timeline_with_its_actor_and_reason(
    database_url: str, tmp_path: Path
) -> None:
    async with running_api(database_url, tmp_path) as api, dead_letter_database(database_url) as database:
        order_id = await placed(api)
        await database.keep(dead_letter_for(new_event(order_id), "validation"), dead_letter_for(new_event("another")))
        await database.sql(
            "INSERT INTO order_steps (order_id, step, event_type, state, attempt) "
            "VALUES (:id, 'validate_order', 'order.placed', 'dead', 1)",
            id=order_id,
        )
        await database.do(lambda tx: discard(tx, Selection(subject=order_id), ANNA))
        timeline = await read_timeline(api, order_id)
        dead, discarded = timeline["entries"][-2:]
        assert (dead["what"], dead["queue"], dead["why"]) == ("dead_letter", "validation", "rejected")
        assert dead["error"] == "400: no such material"
        assert (discarded["what"], discarded["dead_letter"]) == ("discarded", dead["dead_letter"])
        assert (discarded["actor"], discarded["why"]) == (ANNA.actor, ANNA.why)
        assert timeline["waits_for"][0]["blocked_by"] == (
            f"dead letter {dead['dead_letter']} in validation was discarded, last error 400: no such material"
        )


@pytest.mark.parametrize("order_id", [NOBODYS, "WB-00000001", "x"])
async def test_an_unknown_order_has_no_timeline(database_url: str, tmp_path: Path, order_id: str) -> None:
    async with running_api(database_url, tmp_path) as api, dead_letter_database(database_url) as _:
        answer = await api.client.get(f"/orders/{order_id}/timeline")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        assert answer.json()["detail"] == f"there is no order '{order_id}'"


async def test_a_long_timeline_costs_no_more_statements_than_a_short_one(database_url: str, tmp_path: Path) -> None:
    async with (
        counted_statements(database_url) as counter,
        running_api(counter.url, tmp_path) as api,
        dead_letter_database(database_url) as database,
    ):
        order_id = await placed(api)
        statements = []
        for _ in range(3):
            counter.sent.clear()
            await read_timeline(api, order_id)
            statements.append(counter.statements)
            events = [new_event(order_id, generation=number + 1) for number in range(5)]
            await database.keep(*(dead_letter_for(event) for event in events))
            await database.do(lambda tx: discard(tx, Selection(subject=order_id), ANNA))
        assert statements[1] == statements[2] <= 13
        assert len((await read_timeline(api, order_id))["entries"]) == 2 + 3 * 5 * 2
