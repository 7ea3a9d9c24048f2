"""Orders over HTTP against a real Postgres: accepted, refused, read back, listed."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from uuid import UUID

import asyncpg
import pytest

from api import observed
from api.body import MAX_BODY_BYTES
from orders import invoices, repository, steps
from orders.model import AttemptEnd, AttemptRecord, RejectReason, Status, StepProgress, StepState
from tests.support.builders.in_process_api import Api, order_body, running_api
from tests.support.proxies.postgres_wire_counter import counted_statements


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(database_url, tmp_path) as api:
        yield api


async def rows(api: Api, sql: str, *args: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(api.settings.database_url)
    try:
        return list(await connection.fetch(sql, *args))
    finally:
        await connection.close()


async def counts(api: Api) -> tuple[int, int, int]:
    (row,) = await rows(
        api,
        "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM order_lines), "
        "(SELECT count(*) FROM outbox.events)",
    )
    orders, lines, events = row.values()
    return orders, lines, events


async def placed(api: Api, **changes: Any) -> UUID:
    answer = await api.client.post("/orders", json=order_body(**changes))
    assert answer.status_code == 202, answer.text
    return UUID(answer.json()["order_id"])


def is_problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert answer.status_code == problem["status"] == status
    assert {"type", "title", "detail", "instance"} <= set(problem)
    assert problem["type"].startswith("urn:waybill:problem:")
    return problem


async def test_an_accepted_order_is_stored_whole_with_its_event(api: Api) -> None:
    answer = await api.client.post("/orders", json=order_body())
    assert answer.status_code == 202
    order_id = answer.json()["order_id"]
    assert answer.json() == {"order_id": order_id, "status": "pending"}
    assert answer.headers["location"] == f"/orders/{order_id}"
    assert await counts(api) == (1, 2, 1)
    (recorded,) = await rows(api, "SELECT type, subject, source, data FROM outbox.events")
    data = json.loads(recorded["data"])
    assert (recorded["type"], recorded["subject"]) == ("order.placed", order_id)
    assert recorded["source"] == api.settings.event_source
    assert (data["reference"], data["net_total"]) == ("PO-2026-0815", "169.40")


async def test_an_accepted_order_is_one_statement(database_url: str, tmp_path: Path) -> None:
    async with (
        counted_statements(database_url) as counter,
        running_api(counter.url, tmp_path, database_pool_size=1) as api,
    ):
        await placed(api, reference="opens the connection and prepares the statement")
        counter.sent.clear()

        await placed(api, reference="counted")
        for_one = counter.statements
        for number in range(4):
            await placed(api, reference=f"r{number}")
        for_five = counter.statements
        await api.client.post("/orders", json=order_body(reference="counted"))

        # A reference that is taken costs a second one, which finds whose it is: so the wire does count.
        assert (for_one, for_five, counter.statements) == (1, 5, 7)


async def test_a_reference_is_accepted_once_and_then_leads_to_its_order(api: Api) -> None:
    first = await placed(api, reference="twice")

    answer = await api.client.post("/orders", json=order_body(reference="twice", currency="USD"))

    problem = is_problem(answer, 409)
    assert answer.headers["location"] == f"/orders/{first}"
    assert problem["order_id"] == str(first)
    assert "twice" in problem["detail"]
    assert await counts(api) == (1, 2, 1)


async def test_of_concurrent_posts_of_one_reference_one_wins(api: Api) -> None:
    posts = [api.client.post("/orders", json=order_body(reference="race")) for _ in range(8)]

    answers = await asyncio.gather(*posts)

    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 7
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert await counts(api) == (1, 2, 1)


async def test_a_refused_order_leaves_nothing(api: Api) -> None:
    lines = [{"sku": "A", "quantity": 0, "unit_price": "1"}]

    problem = is_problem(await api.client.post("/orders", json=order_body(lines=lines)), 422)

    assert problem["errors"] == [{"field": "lines[0].quantity", "value": 0, "message": "must be at least 1"}]
    assert problem["instance"] == "/orders"
    assert await counts(api) == (0, 0, 0)


async def test_the_largest_order_is_stored_to_the_cent(api: Api) -> None:
    line = {"sku": "A", "quantity": 3, "unit_price": "0.335", "discount": "0.00000001"}
    order_id = await placed(api, lines=[line] * 1000)

    view = (await api.client.get(f"/orders/{order_id}")).json()
    (stored,) = await rows(api, "SELECT sum(net) AS lines, min(discount) AS d FROM order_lines")

    assert len(view["lines"]) == 1000
    assert view["lines"][999] == {**line, "net": "1.00"}
    assert (view["net_total"], stored["lines"]) == ("1000.00", Decimal("1000.00"))


async def test_the_largest_amounts_fit_their_columns(api: Api) -> None:
    line = {"sku": "A", "quantity": 99, "unit_price": "99999999999999.9999", "discount": "0"}
    order_id = await placed(api, lines=[line])

    view = (await api.client.get(f"/orders/{order_id}")).json()

    assert view["net_total"] == "9899999999999999.99"
    assert view["lines"][0]["unit_price"] == "99999999999999.9999"


@pytest.mark.parametrize(
    ("headers", "content", "status", "words"),
    [
        ({"content-type": "text/plain"}, b"{}", 415, "text/plain"),
        ({}, b"{}", 415, "''"),
        ({"content-type": "application/json; charset=latin-1"}, b"{}", 415, "latin-1"),
        ({"content-type": "application/json", "content-encoding": "gzip"}, b"{}", 415, "gzip"),
        ({"content-type": "application/json"}, b"{,}", 400, "line 1 column 2"),
        ({"content-type": "application/json"}, b" " * (MAX_BODY_BYTES + 1), 413, str(MAX_BODY_BYTES)),
        ({"content-type": "application/json; charset=UTF-8"}, b"{}", 422, "required"),
    ],
)
async def test_what_cannot_be_read_is_a_problem(
    api: Api, headers: dict[str, str], content: bytes, status: int, words: str
) -> None:
    problem = is_problem(await api.client.post("/orders", content=content, headers=headers), status)

    assert words in problem["detail"]


async def test_a_body_that_hides_its_length_is_cut_off(api: Api) -> None:
    async def endless() -> Any:
        while True:
            yield b" " * 65_536

    headers = {"content-type": "application/json"}

    answer = await api.client.post("/orders", content=endless(), headers=headers)

    assert is_problem(answer, 413)["type"].endswith("body-too-large")


NOBODYS = "5b0b1f0e-3c58-4f0e-9b0e-7d1c52a4e6d1"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/orders/", 404),
        ("GET", f"/orders/{NOBODYS}", 404),
        ("GET", "/orders/no-id", 404),
        ("GET", "/orders/%00", 404),
        ("GET", f"/orders/{NOBODYS}/invoice.pdf", 404),
        ("DELETE", "/orders", 405),
        ("PUT", f"/orders/{NOBODYS}", 405),
        ("GET", "/orders?limit=0", 422),
        ("GET", "/orders?limit=201", 422),
        ("GET", "/orders?limit=ten", 422),
        ("GET", "/orders?cursor=xyz", 422),
    ],
)
async def test_what_cannot_be_asked_is_a_problem(api: Api, method: str, path: str, status: int) -> None:
    answer = await api.client.request(method, path)

    problem = is_problem(answer, status)
    if status == 405:
        assert answer.headers["allow"]
    if status == 422:
        name, value = path.split("?")[1].split("=")
        (error,) = problem["errors"]
        assert (error["field"], error["value"]) == (name, value)


async def test_an_order_shows_what_has_become_of_it(api: Api) -> None:
    order_id = await placed(api)
    later = datetime(2030, 1, 1, tzinfo=UTC)
    failing = StepProgress("sync_order_to_sap", StepState.RETRYING, 2, "SAP says no", later)
    async with api.app.state.services.single.connect() as tx:
        done = StepProgress("validate_order", StepState.DONE, 1)
        await steps.set_step(tx, order_id, "order.placed", done, AttemptRecord(1, 0, "w@h/1", 0, AttemptEnd.DONE))
        retried = AttemptRecord(2, 1, "w@h/1", 0, AttemptEnd.RETRIED)
        await steps.set_step(tx, order_id, "inventory.reserved", failing, retried)
        await repository.advance(tx, order_id, Status.PENDING, Status.VALIDATED)

    view = (await api.client.get(f"/orders/{order_id}")).json()

    assert view["order_id"] == str(order_id)
    assert view["number"].startswith("WB-")
    assert view["status"] == "validated"
    assert {name: view[name] for name in ("reference", "currency", "net_total")} == {
        "reference": "PO-2026-0815",
        "currency": "EUR",
        "net_total": "169.40",
    }
    assert view["customer"]["name"] == "Frédérique Citeaux"
    assert view["customer"]["address"]["region"] is None
    assert view["lines"][0] == {
        "sku": "SKU-0011",
        "quantity": 12,
        "unit_price": "14.00",
        "discount": "0.05",
        "net": "159.60",
    }
    assert (view["sap_document"], view["invoice_number"], view["reject_reasons"]) == (None, None, [])
    assert view["placed_at"].endswith("Z")
    shown = {step["step"]: step for step in view["steps"]}
    assert list(shown) == [
        "validate_order",
        "reserve_inventory",
        "sync_order_to_sap",
        "send_confirmation_email",
        "generate_invoice_pdf",
        "update_analytics",
        "finalize_order",
    ]
    assert shown["validate_order"]["state"] == "done"
    assert shown["validate_order"]["finished_at"]
    assert shown["reserve_inventory"]["state"] == "pending"
    assert shown["sync_order_to_sap"] == {
        "step": "sync_order_to_sap",
        "state": "retrying",
        "attempt": 2,
        "error": "SAP says no",
        "next_attempt_at": "2030-01-01T00:00:00Z",
        "finished_at": None,
    }


async def test_a_rejected_order_says_why_and_has_no_invoice(api: Api) -> None:
    order_id = await placed(api)
    reason = RejectReason("unknown_sku", "We do not sell SKU-0042.", "SKU-0042")
    async with api.app.state.services.single.connect() as tx:
        await repository.reject(tx, order_id, Status.PENDING, [reason])

    view = (await api.client.get(f"/orders/{order_id}")).json()
    problem = is_problem(await api.client.get(f"/orders/{order_id}/invoice.pdf"), 404)

    assert view["reject_reasons"] == [{"code": "unknown_sku", "message": "We do not sell SKU-0042.", "sku": "SKU-0042"}]
    assert "rejected" in problem["detail"]


async def test_an_invoice_is_served_once_it_is_stored(api: Api) -> None:
    order_id = await placed(api)
    address = f"/orders/{order_id}/invoice.pdf"
    too_early = is_problem(await api.client.get(address), 404)
    async with api.app.state.services.single.connect() as tx:
        await invoices.issue_invoice(tx, order_id, datetime(2026, 3, 1, tzinfo=UTC))
        not_stored = is_problem(await api.client.get(address), 404)
        await api.app.state.services.documents.put("invoices/2026-000001.pdf", b"%PDF-1.7 one")
        await invoices.invoice_stored(tx, order_id, "invoices/2026-000001.pdf")

    answer = await api.client.get(address)

    assert "no invoice yet" in too_early["detail"]
    assert "no invoice yet" in not_stored["detail"]
    assert answer.content == b"%PDF-1.7 one"
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"] == 'inline; filename="2026-000001.pdf"'
    assert (await api.client.get(f"/orders/{order_id}")).json()["invoice_number"] == "2026-000001"


async def test_pages_never_repeat_or_skip_orders_of_the_same_moment(api: Api) -> None:
    ids = [await placed(api, reference=f"r{number}") for number in range(7)]
    moment = datetime(2026, 3, 1, 12, 30, 0, 123456, tzinfo=UTC)
    for number, order_id in enumerate(ids):  # three moments: of 1, 4 and 2 orders
        placed_at = moment + timedelta(microseconds=(number > 0) + (number > 4))
        await rows(api, "UPDATE orders SET placed_at = $1 WHERE id = $2", placed_at, order_id)
    newest_first = [*sorted(ids[5:], reverse=True), *sorted(ids[1:5], reverse=True), ids[0]]

    for limit in (1, 2, 3, 7, 200):
        seen: list[str] = []
        address: str | None = f"/orders?limit={limit}"
        while address:
            page = (await api.client.get(address)).json()
            assert 0 < len(page["orders"]) <= limit
            seen += [order["order_id"] for order in page["orders"]]
            address = page["next"]
        assert seen == [str(order_id) for order_id in newest_first]


async def test_a_list_of_no_orders_is_one_empty_page(api: Api) -> None:
    assert (await api.client.get("/orders")).json() == {"orders": [], "next": None}


async def test_a_fault_of_ours_says_nothing_of_our_insides(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Mock()
    monkeypatch.setattr(observed, "log", log)

    order_id = await placed(api)
    async with api.app.state.services.single.connect() as tx:
        await invoices.issue_invoice(tx, order_id, datetime(2026, 3, 1, tzinfo=UTC))
        await invoices.invoice_stored(tx, order_id, "invoices/gone.pdf")

    problem = is_problem(await api.client.get(f"/orders/{order_id}/invoice.pdf"), 500)

    assert "gone.pdf" not in json.dumps(problem)
    assert "gone.pdf" in str(log.error.call_args.kwargs["exc_info"])
