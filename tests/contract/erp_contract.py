"""Contract suite of `consumers.adapters.erp.Erp`: the promises that every implementation keeps.

To put another ERP through it, subclass `ErpContract` in a test module and give it the fixture `system`: an `ErpSystem`
around the ERP, or a stand-in that shares no code with the adapter, whose failures a test can provoke.
"""

import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Protocol

import pytest

from consumers.adapters.erp import (
    AmbiguousDocuments,
    Erp,
    ErpRefused,
    ErpUnavailable,
    ErpUnreached,
    SalesDocument,
    SalesOrderDraft,
    SalesOrderItem,
)

ORDER_ID = uuid.UUID("0199c0de-0000-7000-8000-000000000001")


class ErpSystem(Protocol):
    """An ERP that is running for tests, and its failures. Each test starts without a failure."""

    def client(self) -> Erp:
        """A new client of it."""

    def unreachable_client(self) -> Erp:
        """A client of an address where no server listens."""

    def unauthorised_client(self) -> Erp:
        """A client with a wrong password."""

    def documents(self, order_number: str) -> list[str]:
        """The numbers of the documents with this order number, read past the adapter."""

    def fail_before_commit(self) -> None:
        """Make creations fail from now on and book nothing."""

    def lose_answers(self) -> None:
        """Make creations be booked from now on, with the connection cut before the answer."""

    def go_down(self, retry_after_seconds: int) -> None:
        """Refuse every call from now on, with this advice on when to come back."""


def draft(order_number: str, *items: SalesOrderItem, order_id: uuid.UUID = ORDER_ID) -> SalesOrderDraft:
    """An order of these items; without any, two pieces for 12.50 each."""
    return SalesOrderDraft(
        order_number, order_id, "USD", items or (SalesOrderItem("SKU-1", 2, Decimal("12.50"), Decimal(0)),)
    )


class ErpContract:
    """Subclasses are named `Test…` and have the fixture `system`."""

    @pytest.fixture
    def reference(self) -> str:
        """An order number that no other test uses."""
        return f"R-{uuid.uuid4().hex[:12]}"

    @pytest.fixture
    async def erp(self, system: ErpSystem) -> AsyncIterator[Erp]:
        client = system.client()
        yield client
        await client.aclose()

    async def test_a_created_order_is_one_document_that_is_found_again(
        self, system: ErpSystem, erp: Erp, reference: str
    ) -> None:
        created = await erp.create(draft(reference))
        assert created == SalesDocument(created.number, Decimal("25.00"), "USD")
        assert system.documents(reference) == [created.number]
        assert await erp.find(reference, ORDER_ID) == created

    async def test_an_order_without_a_document_is_not_found(self, erp: Erp, reference: str) -> None:
        assert await erp.find(reference, ORDER_ID) is None

    async def test_the_net_amount_is_rounded_half_up_after_the_discount(self, erp: Erp, reference: str) -> None:
        item = SalesOrderItem("SKU-1", 1, Decimal("0.05"), Decimal("0.5"))
        assert (await erp.create(draft(reference, item))).net_amount == Decimal("0.03")

    async def test_a_document_of_another_order_with_the_same_number_is_not_ours(self, erp: Erp, reference: str) -> None:
        await erp.create(draft(reference, order_id=uuid.uuid4()))
        assert await erp.find(reference, ORDER_ID) is None

    @pytest.mark.parametrize("order_number", ["O'Hara's & Söhne + 100% #1", "' or 1 eq 1 '", "a,b=c/d?e$f;g"])
    async def test_an_order_number_is_taken_literally(self, erp: Erp, order_number: str) -> None:
        order_id = uuid.uuid4()
        assert await erp.find(order_number, order_id) is None
        created = await erp.create(draft(order_number, order_id=order_id))
        assert await erp.find(order_number, order_id) == created

    async def test_several_documents_of_one_order_are_an_error_with_their_numbers(
        self, erp: Erp, reference: str
    ) -> None:
        numbers = {(await erp.create(draft(reference))).number for _ in range(2)}
        with pytest.raises(AmbiguousDocuments) as caught:
            await erp.find(reference, ORDER_ID)
        assert set(caught.value.numbers) == numbers
        assert isinstance(caught.value, ErpRefused)

    async def test_a_failure_before_the_commit_is_certain(self, system: ErpSystem, erp: Erp, reference: str) -> None:
        system.fail_before_commit()
        with pytest.raises(ErpUnavailable) as caught:
            await erp.create(draft(reference))
        assert not caught.value.uncertain
        assert system.documents(reference) == []

    async def test_a_lost_answer_is_uncertain_and_the_document_is_found(
        self, system: ErpSystem, erp: Erp, reference: str
    ) -> None:
        system.lose_answers()
        with pytest.raises(ErpUnavailable) as caught:
            await erp.create(draft(reference))
        assert caught.value.uncertain
        found = await erp.find(reference, ORDER_ID)
        assert found is not None
        assert system.documents(reference) == [found.number], "the creation was repeated within the call"

    async def test_an_outage_is_certain_says_when_to_come_back_and_shows_as_away(
        self, system: ErpSystem, erp: Erp, reference: str
    ) -> None:
        assert not await erp.is_away()
        system.go_down(retry_after_seconds=7)
        with pytest.raises(ErpUnavailable) as caught:
            await erp.create(draft(reference))
        assert (caught.value.uncertain, caught.value.retry_after) == (False, 7.0)
        assert await erp.is_away()

    async def test_without_a_server_nothing_was_sent(self, system: ErpSystem) -> None:
        client = system.unreachable_client()
        with pytest.raises(ErpUnreached) as caught:
            await client.create(draft("R-1"))
        assert not caught.value.uncertain
        assert await client.is_away()
        await client.aclose()

    async def test_a_refused_log_on_is_refused_and_shows_as_away(self, system: ErpSystem, reference: str) -> None:
        client = system.unauthorised_client()
        with pytest.raises(ErpRefused):
            await client.create(draft(reference))
        assert await client.is_away()
        await client.aclose()
        assert system.documents(reference) == []
