"""Looks at effects in the places where they are: documents in SAP, e-mails in a mailbox, PDFs in the document store.

Each place is asked once, or once per order with a bound on how many at a time. What a place holds beyond the orders
that were asked for is told as well: it may belong to an order of another time, or to none.
"""

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import httpx

from consumers.adapters.erp import AmbiguousDocuments, Erp, ErpError
from consumers.adapters.erp_factory import make_erp
from ops.errors import OpsError
from orders.audit.rules import Known
from runtime.documents import DocumentStore
from runtime.settings import Settings

AT_A_TIME = 8
TIMEOUT_SECONDS = 30.0
_MESSAGE_ID = re.compile(r"<([0-9a-f-]{36})@[^>]*>\Z")


class PlaceError(OpsError):
    """A place cannot be looked into; the text says which and why."""


@dataclass(frozen=True, slots=True)
class SapDocument:
    """A document as SAP has it. `order_id` is None where its reference is no order's id."""

    number: str
    order_number: str
    order_id: UUID | None


class SapPlace(Protocol):
    """Where sales documents are."""

    async def documents(self, orders: Sequence[Known]) -> list[SapDocument]:
        """The documents of these orders, and of others where the place can be read as a whole.

        Raises PlaceError.
        """


class SapOverOData:
    """SAP itself, asked for one order after the other. Whoever has no document in it, no question finds."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def documents(self, orders: Sequence[Known]) -> list[SapDocument]:
        """See SapPlace."""
        erp, limit = make_erp(self._settings), asyncio.Semaphore(AT_A_TIME)

        async def one(order: Known) -> list[SapDocument]:
            async with limit:
                return [SapDocument(number, order.number, order.id) for number in await _numbers(erp, order)]

        try:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(one(order)) for order in orders]
        except* ErpError as errors:
            raise PlaceError(f"SAP: {errors.exceptions[0]}") from errors
        finally:
            await erp.aclose()
        return [document for task in asked for document in task.result()]


async def _numbers(erp: Erp, order: Known) -> Sequence[str]:
    try:
        document = await erp.find(order.number, order.id)
    except AmbiguousDocuments as several:
        return several.numbers
    return () if document is None else (document.number,)


class SapSandbox:
    """The sandbox, whose ledger is read in one call."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def documents(self, orders: Sequence[Known]) -> list[SapDocument]:  # noqa: ARG002 - it has them all
        """See SapPlace."""
        ledger = await _json(f"{self._url}/sandbox/ledger")
        return [SapDocument(row["number"], row["order_number"], _uuid(row["order_id"])) for row in ledger["documents"]]


@dataclass(frozen=True, slots=True)
class Mail:
    """What is in a mailbox: copies by event, and the Message-IDs that are not ours."""

    copies: Counter[UUID]
    foreign: list[str]


async def read_mail(view_url: str) -> Mail:
    """Every message of the sandbox's inbox by the event in its Message-ID. Raises PlaceError."""
    copies: Counter[UUID] = Counter()
    foreign = []
    for message in await _json(f"{view_url}/messages"):
        named = _MESSAGE_ID.match(message["message_id"])
        event_id = _uuid(named[1]) if named else None
        if event_id is None:
            foreign.append(message["message_id"])
        else:
            copies[event_id] += 1
    return Mail(copies, foreign)


async def stored(documents: DocumentStore, keys: Iterable[str]) -> set[str]:
    """The keys among these under which there is a PDF. Raises DocumentStoreError."""
    limit = asyncio.Semaphore(AT_A_TIME)

    async def one(key: str) -> str | None:
        async with limit:
            content = await documents.get(key)
        return key if content is not None and content.startswith(b"%PDF-") else None

    return {key for key in await asyncio.gather(*map(one, keys)) if key is not None}


def numbers_by_order(documents: Iterable[SapDocument]) -> dict[UUID, list[str]]:
    """Document numbers by order, of the documents that name one."""
    found: defaultdict[UUID, list[str]] = defaultdict(list)
    for document in documents:
        if document.order_id is not None:
            found[document.order_id].append(document.number)
    return found


async def _json(url: str) -> Any:  # noqa: ANN401 - JSON as it came
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
            response = await client.get(url)
            response.raise_for_status()
            return response.json()
    except (httpx.HTTPError, ValueError) as error:
        raise PlaceError(f"{url}: {error!r}") from error


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
