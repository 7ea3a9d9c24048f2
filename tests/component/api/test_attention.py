"""An order needs attention as long as it has an open dead letter. The check costs a list one query."""

from pathlib import Path
from typing import Any

from outbox.dead_letters.queries import Selection
from outbox.dead_letters.replay import discard, replay
from tests.support.builders.dead_letters import ANNA, EXCHANGE, dead_letter_database, dead_letter_for
from tests.support.builders.events import new_event
from tests.support.builders.in_process_api import Api, order_body, running_api
from tests.support.proxies.postgres_wire_counter import counted_statements


async def placed(api: Api, reference: str = "r") -> str:
    answer = await api.client.post("/orders", json=order_body(reference=reference))
    return str(answer.json()["order_id"])


async def seen(api: Api, order_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = (await api.client.get(f"/orders/{order_id}")).json()
    return answer


async def test_an_order_with_open_dead_letters_shows_what_was_dead_lettered_and_why(
    database_url: str, tmp_path: Path
) -> None:
    async with running_api(database_url, tmp_path) as api, dead_letter_database(database_url) as database:
        order_id = await placed(api)
        assert (await seen(api, order_id))["open_dead_letters"] == []
        await database.keep(dead_letter_for(new_event(order_id)), dead_letter_for(new_event("another"), "email"))
        (dead_letter, _) = await database.dead_letters()
        order = await seen(api, order_id)
        assert order["needs_attention"] is True
        assert order["status"] == "pending"  # never a status of its own
        assert order["open_dead_letters"] == [
            {
                "dead_letter": dead_letter.id,
                "queue": "sap",
                "reason": "rejected",
                "error": "400: no such material",
                "since": dead_letter.first_seen_at.isoformat().replace("+00:00", "Z"),
            }
        ]


async def test_an_order_whose_dead_letters_are_replayed_or_discarded_needs_no_attention(
    database_url: str, tmp_path: Path
) -> None:
    async with running_api(database_url, tmp_path) as api, dead_letter_database(database_url) as database:
        order_id = await placed(api)
        await database.keep(dead_letter_for(new_event(order_id)), dead_letter_for(new_event(order_id), "email"))
        await database.do(lambda tx: replay(tx, Selection(queues=("sap",)), ANNA, EXCHANGE))
        assert [one["queue"] for one in (await seen(api, order_id))["open_dead_letters"]] == ["email"]
        await database.do(lambda tx: discard(tx, Selection(queues=("email",)), ANNA))
        order = await seen(api, order_id)
        assert (order["needs_attention"], order["open_dead_letters"]) == (False, [])


async def test_a_list_says_which_orders_need_attention_with_one_query_for_all(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        counted_statements(database_url) as counter,
        running_api(counter.url, tmp_path) as api,
        dead_letter_database(database_url) as database,
    ):
        ids = [await placed(api, f"r{n}") for n in range(6)]
        await database.keep(*(dead_letter_for(new_event(order_id)) for order_id in ids[::2]))
        statements = []
        for limit in (1, 5):
            counter.sent.clear()
            page = (await api.client.get(f"/orders?limit={limit}")).json()
            statements.append(counter.statements)
        assert [order["needs_attention"] for order in page["orders"]] == [False, True, False, True, False]
        assert statements == [2, 2]
