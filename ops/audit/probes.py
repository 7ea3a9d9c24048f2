"""Probes of the effects outside our tables: documents in SAP, e-mails in a mailbox, PDFs in the document store.

A probe sends one query, or one per order with at most AT_A_TIME at once. It also returns effects of other orders than
those it was asked for: such an effect may belong to an order of another time, or to no order. Called by
`ops.audit.report`.
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
from orders.audit.rules import OrderRecord
from runtime.documents import DocumentStore
from runtime.settings import Settings
from runtime.task_groups import first_error

AT_A_TIME = 8
TIMEOUT_SECONDS = 30.0
_MESSAGE_ID = re.compile(r"<([0-9a-f-]{36})@[^>]*>\Z")


class ProbeError(OpsError):
    """A probe got no usable answer; the message names its target and the cause."""


@dataclass(frozen=True, slots=True)
class SapDocument:
    """A sales document in SAP. `order_id` is None if its reference is not the id of an order."""

    number: str
    order_number: str
    order_id: UUID | None


class SapProbe(Protocol):
    """A source of sales documents."""

    async def documents(self, orders: Sequence[OrderRecord]) -> list[SapDocument]:
        """The documents of these orders, and of all others if the source can list them.

        Raises ProbeError.
        """


class SapOverOData:
    """SAP itself, queried order by order. It cannot find documents that belong to none of the given orders."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def documents(self, orders: Sequence[OrderRecord]) -> list[SapDocument]:
        """See SapProbe."""
        erp, limit = make_erp(self._settings), asyncio.Semaphore(AT_A_TIME)

        async def one(order: OrderRecord) -> list[SapDocument]:
            async with limit:
                return [SapDocument(number, order.number, order.id) for number in await _numbers(erp, order)]

        try:
            with first_error(ErpError):
                async with asyncio.TaskGroup() as group:
                    queries = [group.create_task(one(order)) for order in orders]
        except ErpError as error:
            raise ProbeError(f"SAP: {error}") from error
        finally:
            await erp.aclose()
        return [document for task in queries for document in task.result()]


async def _numbers(erp: Erp, order: OrderRecord) -> Sequence[str]:
    try:
        document = await erp.find(order.number, order.id)
    except AmbiguousDocuments as several:
        return several.numbers
    return () if document is None else (document.number,)


class SapSandbox:
    """The SAP sandbox, whose ledger lists all documents in one call."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def documents(self, orders: Sequence[OrderRecord]) -> list[SapDocument]:  # noqa: ARG002 - the ledger lists all
        """See SapProbe."""
        ledger = await _json(f"{self._url}/sandbox/ledger")
        return [SapDocument(row["number"], row["order_number"], _uuid(row["order_id"])) for row in ledger["documents"]]


@dataclass(frozen=True, slots=True)
class Mailbox:
    """The content of a mailbox: the number of copies by event, and the Message-IDs that are not ours."""

    copies: Counter[UUID]
    foreign: list[str]


async def read_mail(view_url: str) -> Mailbox:
    """All messages of the sandbox's inbox, by the event in their Message-ID. Raises ProbeError."""
    copies: Counter[UUID] = Counter()
    foreign = []
    for message in await _json(f"{view_url}/messages"):
        named = _MESSAGE_ID.match(message["message_id"])
        event_id = _uuid(named[1]) if named else None
        if event_id is None:
            foreign.append(message["message_id"])
        else:
            copies[event_id] += 1
    return Mailbox(copies, foreign)


async def stored(documents: DocumentStore, keys: Iterable[str]) -> set[str]:
    """Those of the keys under which a PDF is stored. Raises DocumentStoreError."""
    limit = asyncio.Semaphore(AT_A_TIME)

    async def one(key: str) -> str | None:
        async with limit:
            content = await documents.get(key)
        return key if content is not None and content.startswith(b"%PDF-") else None

    return {key for key in await asyncio.gather(*map(one, keys)) if key is not None}


def numbers_by_order(documents: Iterable[SapDocument]) -> dict[UUID, list[str]]:
    """Document numbers by order; documents without an order are left out."""
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
        raise ProbeError(f"{url}: {error!r}") from error


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
