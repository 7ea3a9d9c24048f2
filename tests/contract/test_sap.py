"""The client and the sandbox over a real connection: they agree on all that an order needs to be booked once."""

import asyncio
import re
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from consumers.adapters.erp import (
    ErpRefused,
    ErpUnavailable,
    ErpUnreached,
    SalesDocument,
    SalesOrderDraft,
    SalesOrderItem,
)
from consumers.adapters.sap import SapClient
from lab.sandbox.sap.faults import Fault, FaultPlan, FaultSettings
from runtime.settings import Settings
from tests.support.deadlines import ANSWER_SECONDS
from tests.support.processes.sandboxes import Sap, start_sap

SERVICE = "/sap/opu/odata/sap/API_SALES_ORDER_SRV"
Result = TypeVar("Result")
ORDER_ID = uuid.UUID("0199c0de-0000-7000-8000-000000000001")


@pytest.fixture
def reference() -> str:
    """An order number that no other test uses."""
    return f"R-{uuid.uuid4().hex[:12]}"


def settings(sap_url: str, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "database_url": "postgresql://nobody@127.0.0.1/none",
        "amqp_url": "amqp://nobody@127.0.0.1/",
        "sap_url": sap_url,
        "sap_timeout_seconds": 5.0,
    }
    return Settings(**(values | changes))


@asynccontextmanager
async def client_of(sap_url: str, **changes: Any) -> AsyncIterator[SapClient]:
    client = SapClient(settings(sap_url, **changes))
    try:
        yield client
    finally:
        await client.aclose()


def with_client(sap_url: str, work: Callable[[SapClient], Awaitable[Result]], **changes: Any) -> Result:
    async def run() -> Result:
        async with client_of(sap_url, **changes) as given:
            return await work(given)

    return asyncio.run(run())


def item(sku: str = "SKU-1", quantity: int = 2, price: str = "12.50", discount: str = "0") -> SalesOrderItem:
    return SalesOrderItem(sku, quantity, Decimal(price), Decimal(discount))


def draft(order_number: str, *items: SalesOrderItem, order_id: uuid.UUID = ORDER_ID) -> SalesOrderDraft:
    return SalesOrderDraft(order_number, order_id, "USD", items or (item(),))


def create(sap: Sap, what: SalesOrderDraft, **changes: Any) -> SalesDocument:
    return with_client(sap.url, lambda client: client.create(what), **changes)


def find(sap: Sap, order_number: str, order_id: uuid.UUID = ORDER_ID) -> SalesDocument | None:
    return with_client(sap.url, lambda client: client.find(order_number, order_id))


@contextmanager
def session(sap: Sap) -> Iterator[httpx.Client]:
    """A plain HTTP client with a session cookie and a token, for requests that the real client would never send."""
    with httpx.Client(base_url=sap.url + SERVICE, auth=("waybill", "waybill"), timeout=ANSWER_SECONDS) as http:
        http.headers["X-CSRF-Token"] = http.get("/", headers={"X-CSRF-Token": "Fetch"}).headers["x-csrf-token"]
        yield http


def posted(order_number: str, **changes: Any) -> dict[str, Any]:
    price = {"ConditionType": "PPR0", "ConditionRateValue": "10", "ConditionCurrency": "USD"}
    line = {"Material": "SKU-1", "RequestedQuantity": "1", "to_PricingElement": [price]}
    return {
        "SalesOrderType": "OR",
        "SalesOrganization": "1010",
        "DistributionChannel": "10",
        "OrganizationDivision": "00",
        "SoldToParty": "10100001",
        "TransactionCurrency": "USD",
        "PurchaseOrderByCustomer": order_number,
        "to_Item": [line],
    } | changes


def test_a_created_order_is_one_document_with_our_references(sap: Sap, reference: str) -> None:
    document = create(sap, draft(reference, item(quantity=3, price="19.99")))

    assert document == SalesDocument(document.number, Decimal("59.97"), "USD")
    ledger = sap.ledger()
    assert ledger["documents"][-1] | {"created_ms": 0} == {
        "number": document.number,
        "order_number": reference,
        "order_id": ORDER_ID.hex,
        "net_amount": "59.97",
        "currency": "USD",
        "created_ms": 0,
    }
    assert ledger["orders"][reference] == {"documents": [document.number], "net_total": "59.97", "posts": 1}


@pytest.mark.parametrize(
    ("items", "net"),
    [
        ((item(quantity=12, price="14", discount="0.15"),), "142.80"),
        ((item(quantity=1, price="0.05", discount="0.5"),), "0.03"),  # 0.025: half goes up
        ((item(quantity=3, price="0.335"),), "1.01"),  # 1.005
        ((item(quantity=1, price="0.015", discount="0.1"), item("SKU-2", 1, "0.015", "0.1")), "0.02"),  # per line
        ((item("SKU-1", 1, "1E+2", "0.1"), item("SKU-1", 2, "100")), "290.00"),  # one SKU on two lines
    ],
)
def test_sap_computes_the_net_amount_from_price_quantity_and_discount(
    sap: Sap, reference: str, items: tuple[SalesOrderItem, ...], net: str
) -> None:
    assert create(sap, draft(reference, *items)).net_amount == Decimal(net)


def test_a_discount_finer_than_sap_can_hold_is_refused_and_not_rounded(sap: Sap, reference: str) -> None:
    with pytest.raises(ErpRefused, match=r"ConditionRateValue is invalid: .*9 decimal places"):
        create(sap, draft(reference, item(discount="0.05000000074505806")))
    assert sap.order(reference)["documents"] == []


def test_a_net_amount_from_the_client_is_refused_by_name(sap: Sap, reference: str) -> None:
    with session(sap) as http:
        response = http.post("/A_SalesOrder", json=posted(reference, TotalNetAmount="1.00"))
    assert response.status_code == 400
    assert response.json()["error"]["message"]["value"] == "Property TotalNetAmount is unknown or read-only"
    assert sap.order(reference)["documents"] == []


def test_every_property_at_fault_is_named(sap: Sap, reference: str) -> None:
    items = {"results": [{"Material": "", "RequestedQuantity": "0"}]}
    body = posted(reference, SalesOrganization="10100", to_Item=items)
    del body["SoldToParty"]
    with session(sap) as http:
        response = http.post("/A_SalesOrder", json=body)
    details = response.json()["error"]["innererror"]["errordetails"]
    assert {detail["target"] for detail in details} == {
        "SalesOrganization",
        "SoldToParty",
        "to_Item/0/Material",
        "to_Item/0/RequestedQuantity",
        "to_Item/0/to_PricingElement",
    }


def test_a_token_without_its_session_cookie_is_refused(sap: Sap, reference: str) -> None:
    with session(sap) as http:
        http.cookies.clear()
        response = http.post("/A_SalesOrder", json=posted(reference))
    assert (response.status_code, response.headers["x-csrf-token"]) == (403, "Required")


def test_two_posts_make_two_documents_and_find_refuses_to_choose(sap: Sap, reference: str) -> None:
    numbers = [create(sap, draft(reference)).number for _ in range(2)]
    with pytest.raises(ErpRefused, match=f"more than one document in SAP: {numbers[0]} and {numbers[1]}"):
        find(sap, reference)
    assert sap.order(reference)["documents"] == numbers


async def test_an_expired_token_is_fetched_again_within_the_call(tmp_path: Path) -> None:
    async def work(client: SapClient) -> list[str]:
        return [(await client.create(draft(f"R-{n}"))).number for n in range(3)]

    with start_sap(tmp_path, token_uses=1) as sap:
        async with client_of(sap.url) as client:
            assert len(set(await work(client))) == 3
        assert sap.ledger()["posts"] == 3


async def test_tasks_that_share_a_client_share_its_token(sap: Sap, reference: str) -> None:
    async def work(client: SapClient) -> list[SalesDocument]:
        return await asyncio.gather(*(client.create(draft(f"{reference}-{n}")) for n in range(20)))

    async with client_of(sap.url) as client:
        assert len({document.number for document in await work(client)}) == 20


def test_a_wrong_password_is_refused(sap: Sap, reference: str) -> None:
    with pytest.raises(ErpRefused, match=r"401: .*Logon failed: user or password is wrong"):
        create(sap, draft(reference), sap_password="guess")


def test_a_reference_of_36_characters_is_refused_in_saps_words(sap: Sap, reference: str) -> None:
    longest = reference.ljust(35, "x")
    assert create(sap, draft(longest)).number
    with pytest.raises(ErpRefused, match="Property PurchaseOrderByCustomer has 36 characters, at most 35 are allowed"):
        create(sap, draft(longest + "x"))


@pytest.mark.parametrize(
    "order_number", ["O'Hara's & Söhne + 100% #1", "' or SalesOrder ne '", "a,b=c/d?e$f;g", "'", "''"]
)
def test_find_takes_any_order_number_literally(sap: Sap, order_number: str) -> None:
    create(sap, draft("R-other", order_id=uuid.uuid4()))
    assert find(sap, order_number) is None
    document = create(sap, draft(order_number))
    assert find(sap, order_number) == document


def test_a_document_of_another_order_with_the_same_number_is_not_ours(sap: Sap, reference: str) -> None:
    create(sap, draft(reference, order_id=uuid.uuid4()))
    assert find(sap, reference) is None


def test_an_error_before_the_commit_may_be_tried_again_at_once(sap: Sap, reference: str) -> None:
    errors = sap.ledger()["faults"]["error"]
    sap.faults(error_rate=1)
    with pytest.raises(ErpUnavailable, match=r"SAP answered 50[03]: ") as caught:
        create(sap, draft(reference))
    assert (caught.value.uncertain, caught.value.retry_after) == (False, None)
    assert sap.order(reference) == {"documents": [], "net_total": "0", "posts": 1}
    assert sap.ledger()["faults"]["error"] == errors + 1


def test_a_lost_answer_is_uncertain_and_the_document_is_found(sap: Sap, reference: str) -> None:
    sap.faults(lost_rate=1)
    with pytest.raises(ErpUnavailable, match="connection to SAP lost") as caught:
        create(sap, draft(reference))
    assert caught.value.uncertain
    document = find(sap, reference)
    assert document is not None
    assert document.net_amount == Decimal("25.00")
    assert sap.order(reference) == {"documents": [document.number], "net_total": "25.00", "posts": 1}


def test_a_late_commit_is_not_there_at_first_and_then_is(sap: Sap, reference: str) -> None:
    before = sap.ledger()["document_count"]
    sap.faults(late_rate=1, late_seconds=5)
    with pytest.raises(ErpUnavailable) as caught:
        create(sap, draft(reference))
    assert caught.value.uncertain
    assert find(sap, reference) is None
    assert sap.ledger()["late_pending"] == 1
    number = sap.wait_for("document_count", before + 1)["documents"][-1]["number"]
    found = find(sap, reference)
    assert found is not None
    assert found.number == number


def test_a_late_commit_is_not_forgotten_when_the_sandbox_stops(tmp_path: Path) -> None:
    with start_sap(tmp_path, late_rate=1, late_seconds=600) as sap:
        with pytest.raises(ErpUnavailable):
            create(sap, draft("R-1"))
        assert sap.stop() == 0
    with start_sap(tmp_path) as sap:
        assert len(sap.order("R-1")["documents"]) == 1


def test_no_answer_within_the_time_out_is_uncertain_and_nothing_is_booked(sap: Sap, reference: str) -> None:
    sap.faults(timeout_rate=1)
    started = time.monotonic()
    with pytest.raises(ErpUnavailable, match=r"no answer from SAP within 0\.5 s") as caught:
        create(sap, draft(reference), sap_timeout_seconds=0.5)
    assert caught.value.uncertain
    assert 0.5 <= time.monotonic() - started < Settings.model_fields["sap_timeout_seconds"].default
    assert find(sap, reference) is None


async def test_a_hanging_call_does_not_keep_the_sandbox_from_stopping(tmp_path: Path) -> None:
    async def hang_and_stop(sap: Sap) -> int:
        client = SapClient(settings(sap.url))
        call = asyncio.create_task(client.create(draft("R-1")))
        await asyncio.to_thread(sap.wait_for, "posts", 1)
        code = await asyncio.to_thread(sap.stop)
        with pytest.raises(ErpUnavailable):
            await call
        await client.aclose()
        return code

    with start_sap(tmp_path, timeout_rate=1) as sap:
        assert await hang_and_stop(sap) == 0


def test_an_outage_says_when_to_come_back(sap: Sap, reference: str) -> None:
    before = sap.ledger()["outage_answers"]
    sap.faults(outage=True, retry_after_seconds=7)
    with pytest.raises(ErpUnavailable, match="The system is not available") as caught:
        create(sap, draft(reference))
    assert (caught.value.retry_after, caught.value.uncertain) == (7.0, False)
    assert sap.ledger()["outage_answers"] == before + 1, "asked again before the time SAP gave"

    sap.faults(outage=False)
    assert create(sap, draft(reference)).net_amount == Decimal("25.00")


def test_a_look_up_outlasts_a_short_outage(sap: Sap, reference: str) -> None:
    async def work(client: SapClient) -> SalesDocument | None:
        looking = asyncio.create_task(client.find(reference, ORDER_ID))
        await asyncio.to_thread(sap.wait_for, "outage_answers", before + 1)
        await asyncio.to_thread(sap.faults, outage=False)
        return await looking

    document = create(sap, draft(reference))
    before = sap.ledger()["outage_answers"]
    sap.faults(outage=True)
    assert with_client(sap.url, work) == document


def test_without_a_server_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ErpUnreached, match=f"no connection to http://127.0.0.1:{port}") as caught:
        with_client(f"http://127.0.0.1:{port}", lambda client: client.create(draft("R-1")))
    assert not caught.value.uncertain


def test_the_ledger_outlives_a_kill_and_numbers_go_on(tmp_path: Path) -> None:
    with start_sap(tmp_path) as sap:
        before = [create(sap, draft(f"R-{n}")) for n in range(3)]
        sap.kill()
    with sap.ledger_file.open("ab") as ledger:
        ledger.write(b'{"record":"document","number":"10')
    with start_sap(tmp_path) as sap:
        assert find(sap, "R-1") == before[1]
        after = create(sap, draft("R-9"))
        assert int(after.number) == int(before[-1].number) + 1
        assert sap.ledger()["posts"] == 4


def test_the_fate_of_each_attempt_comes_from_the_seed_also_after_a_kill(tmp_path: Path) -> None:
    def fate(sap: Sap) -> Fault | None:
        try:
            create(sap, draft("R-1"))
        except ErpUnavailable as error:
            return Fault.LOST if error.uncertain else Fault.ERROR
        return None

    flags: dict[str, Any] = {"seed": 7, "error_rate": 0.4, "lost_rate": 0.3}
    with start_sap(tmp_path, **flags) as sap:
        seen = [fate(sap) for _ in range(5)]
        sap.kill()
    with start_sap(tmp_path, **flags) as sap:
        seen += [fate(sap) for _ in range(5)]

    plan = FaultPlan(7, FaultSettings(error_rate=0.4, lost_rate=0.3))
    assert seen == [plan.fault("R-1", attempt) for attempt in range(1, 11)]
    assert len(set(seen)) == 3


def test_entities_read_expand_and_select_as_odata_has_it(sap: Sap, reference: str) -> None:
    number = create(sap, draft(reference, item(quantity=2), item("SKU-2", 1, "9.99"))).number
    with session(sap) as http:
        plain = http.get(f"/A_SalesOrder('{number}')").json()["d"]
        whole = http.get(f"/A_SalesOrder('{number}')", params={"$expand": "to_Item"}).json()["d"]
        some = http.get("/A_SalesOrder", params={"$select": "SalesOrder", "$top": "1"}).json()["d"]["results"]
        missing = http.get("/A_SalesOrder('1')")
        beyond = http.get("/A_SalesOrder", params={"$filter": "SalesOrder eq '1' or SalesOrder eq '2'"})

    assert plain["to_Item"]["__deferred"]["uri"].endswith(f"/A_SalesOrder('{number}')/to_Item")
    assert [line["NetAmount"] for line in whole["to_Item"]["results"]] == ["25.00", "9.99"]
    assert re.fullmatch(r"/Date\(\d{13}\)/", plain["CreationDate"])
    assert [set(entity) for entity in some] == [{"__metadata", "SalesOrder"}]
    assert (missing.status_code, beyond.status_code) == (404, 501)
    assert "Resource not found" in missing.json()["error"]["message"]["value"]


def test_the_page_for_people_escapes_what_it_shows(sap: Sap) -> None:
    create(sap, draft("<b>R</b>"))
    page = httpx.get(sap.url + "/sandbox/", timeout=ANSWER_SECONDS).text
    assert "&lt;b&gt;R&lt;/b&gt;" in page
    assert "<b>R" not in page


def test_rates_that_make_no_sense_are_refused(sap: Sap) -> None:
    rates = {"error_rate": 0.7, "lost_rate": 0.7}
    response = httpx.put(sap.url + "/sandbox/faults", json=rates, timeout=ANSWER_SECONDS)
    assert response.status_code == 422
    assert "add up to 1.4" in response.json()["problems"][0]
    assert sap.get("/sandbox/faults")["error_rate"] == 0
