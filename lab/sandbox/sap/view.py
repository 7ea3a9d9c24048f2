"""The HTTP view of the SAP sandbox for people and tests: the ledger as JSON and HTML, and the fault knobs.

These routes need no password: the sandbox listens on loopback only, and they are no part of SAP's protocol.
"""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import ValidationError

from lab.sandbox.sap.faults import Fault, FaultSettings, problems_of
from lab.sandbox.sap.ledger import Document
from lab.sandbox.sap.service import Sandbox, SapSandbox

_LISTED = 200

_router = APIRouter()


def add_views(app: FastAPI) -> None:
    """Add /sandbox/… and /healthz to the service."""
    app.include_router(_router)


@_router.get("/healthz")
async def _healthz() -> dict[str, str]:
    return {"status": "ok"}


@_router.get("/sandbox/ledger")
async def _ledger(sandbox: Sandbox) -> JSONResponse:
    """`orders` holds every order number that was posted, also without success; amounts are strings."""
    documents = sandbox.ledger.documents
    body = _counts(sandbox) | {
        "net_total": str(_total(documents)),
        "orders": _by_order(sandbox),
        "documents": [_row(document) for document in documents],
    }
    return JSONResponse(body)


@_router.get("/sandbox/counts", response_model=None)
async def _counted(sandbox: Sandbox) -> dict[str, Any]:
    """The ledger's figures without the documents, for clients that poll."""
    return _counts(sandbox)


@_router.get("/sandbox/faults")
async def _faults(sandbox: Sandbox) -> FaultSettings:
    return sandbox.plan.settings


@_router.put("/sandbox/faults", response_model=None)
async def _change_faults(changes: dict[str, Any], sandbox: Sandbox) -> FaultSettings | JSONResponse:
    """Change the named knobs and keep the others."""
    try:
        sandbox.plan.settings = sandbox.plan.settings.changed(changes)
    except ValidationError as error:
        return JSONResponse({"problems": problems_of(error)}, 422)
    return sandbox.plan.settings


@_router.get("/sandbox", response_class=HTMLResponse)
@_router.get("/sandbox/", response_class=HTMLResponse)
async def _page(sandbox: Sandbox) -> str:
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(str(value))}</td>" for value in _row(document).values()) + "</tr>"
        for document in reversed(sandbox.ledger.documents[-_LISTED:])
    )
    counts = _counts(sandbox)
    figures = {name: value for name, value in counts.items() if name != "faults"} | counts["faults"]
    listed = "".join(f"<li>{escape(name.replace('_', ' '))}: {value}</li>" for name, value in figures.items())
    heads = "".join(f"<th>{name}</th>" for name in ("number", "order", "order id", "net", "currency", "created (ms)"))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>SAP sandbox</title>'
        "<style>body{font:14px system-ui;margin:2em}td,th{padding:2px 12px;text-align:left}</style>"
        f"<h1>SAP sandbox</h1><ul>{listed}</ul><p>The newest {_LISTED} documents:</p>"
        f"<table><tr>{heads}</tr>{rows}</table></html>"
    )


def _counts(sandbox: SapSandbox) -> dict[str, Any]:
    ledger = sandbox.ledger
    return {
        "document_count": len(ledger.documents),
        "posts": ledger.attempts.total(),
        "faults": {fault.value: ledger.faults[fault] for fault in Fault},
        "faults_injected": ledger.faults.total(),
        "outage_answers": sandbox.outage_answers,
        "late_pending": sandbox.late_pending,
    }


def _row(document: Document) -> dict[str, Any]:
    return {
        "number": document.number,
        "order_number": document.order_number,
        "order_id": document.head["PurchaseOrderByShipToParty"],
        "net_amount": document.net_amount,
        "currency": document.head["TransactionCurrency"],
        "created_ms": document.created_ms,
    }


def _by_order(sandbox: SapSandbox) -> dict[str, dict[str, Any]]:
    held: defaultdict[str, list[Document]] = defaultdict(list)
    for document in sandbox.ledger.documents:
        held[document.order_number].append(document)
    return {
        order: {
            "documents": [document.number for document in held[order]],
            "net_total": str(_total(held[order])),
            "posts": posts,
        }
        for order, posts in sandbox.ledger.attempts.items()
    }


def _total(documents: Sequence[Document]) -> Decimal:
    return sum((Decimal(document.net_amount) for document in documents), Decimal(0))
