"""The OData V2 service `API_SALES_ORDER_SRV`: routes, access checks and the shapes of its answers.

Reads never fail. A POST that is valid draws its fault from the fault plan, so an invalid request is refused alike at
every attempt. The faults cut the TCP connection itself, as a broken network does.
"""

import asyncio
import base64
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from lab.sandbox.sap.csrf import SESSION_COOKIE, CsrfTokens
from lab.sandbox.sap.faults import Fault, FaultPlan
from lab.sandbox.sap.ledger import Document, Ledger
from lab.sandbox.sap.odata import ODataError, date_literal, quoted, refused, render_odata_error
from lab.sandbox.sap.odata_filter import parse_filter
from lab.sandbox.sap.order import SalesOrder, parse_order
from lab.sandbox.serving import gone, sever

SERVICE = "/sap/opu/odata/sap/API_SALES_ORDER_SRV"

_FILTERABLE = frozenset(
    {
        "SalesOrder",
        "SalesOrderType",
        "SoldToParty",
        "TransactionCurrency",
        "PurchaseOrderByCustomer",
        "PurchaseOrderByShipToParty",
    }
)
_OPTIONS = frozenset({"$filter", "$select", "$top", "$expand", "$format", "sap-client", "sap-language"})
_JSON_HEADERS = {"dataserviceversion": "2.0"}


class SapSandbox:
    """The state that the routes share: ledger, fault plan, sessions, credentials and the pending late commits."""

    def __init__(self, ledger: Ledger, plan: FaultPlan, tokens: CsrfTokens, *, user: str, password: str) -> None:
        self.ledger = ledger
        self.plan = plan
        self.tokens = tokens
        self.authorization = b"Basic " + base64.b64encode(f"{user}:{password}".encode())
        self.outage_answers = 0
        self.reads = 0
        self._closing = asyncio.Event()
        self._late: set[asyncio.Task[None]] = set()

    @property
    def late_pending(self) -> int:
        """Documents that will be committed after their client has gone."""
        return len(self._late)

    def book_late(self, order: SalesOrder, seconds: float) -> None:
        """Commit after `seconds`, or at once when the sandbox closes."""
        task = asyncio.create_task(self._book_later(order, seconds))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def close(self) -> None:
        """Commit what is pending and close the ledger."""
        self._closing.set()
        await asyncio.gather(*self._late)
        self.ledger.close()

    async def _book_later(self, order: SalesOrder, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        await self.ledger.book(order)


def build_service(sandbox: SapSandbox) -> FastAPI:
    """The app with the OData routes; it closes the sandbox at shutdown."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await sandbox.close()

    app = FastAPI(title="SAP sandbox", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.sandbox = sandbox
    app.add_exception_handler(ODataError, render_odata_error)
    app.include_router(_router)
    return app


def sandbox_of(request: Request) -> SapSandbox:
    """The sandbox that serves this request."""
    sandbox: SapSandbox = request.app.state.sandbox
    return sandbox


Sandbox = Annotated[SapSandbox, Depends(sandbox_of)]


async def _admitted(request: Request, sandbox: Sandbox) -> None:
    settings = sandbox.plan.settings
    if settings.outage:
        sandbox.outage_answers += 1
        raise ODataError(
            503, refused("/IWFND/CM_BEC/026", "The system is not available").details, _retry_after(sandbox)
        )
    given = request.headers.get("authorization", "").encode()
    if not secrets.compare_digest(given, sandbox.authorization):
        error = refused("/IWFND/CM_COS/401", "Logon failed: user or password is wrong", status=401)
        error.headers = {"www-authenticate": 'Basic realm="SAP NetWeaver Application Server"'}
        raise error
    if request.method != "POST":
        sandbox.reads += 1
        await asyncio.sleep(sandbox.plan.latency_seconds(request.method, sandbox.reads))


_router = APIRouter(prefix=SERVICE, dependencies=[Depends(_admitted)])


@_router.api_route("", methods=["GET", "HEAD"])
@_router.api_route("/", methods=["GET", "HEAD"])
async def _service_root(request: Request, sandbox: Sandbox) -> Response:
    return _answer(request, sandbox, {"d": {"EntitySets": ["A_SalesOrder"]}})


@_router.get("/A_SalesOrder")
async def _query(request: Request, sandbox: Sandbox) -> Response:
    options = _options(request)
    comparisons = parse_filter(options["$filter"], _FILTERABLE) if "$filter" in options else ()
    found = sandbox.ledger.find(comparisons, _top(options.get("$top", "1000")))
    return _answer(request, sandbox, {"d": {"results": [_entity(request, one, options) for one in found]}})


@_router.get("/A_SalesOrder('{number}')")
async def _read(number: str, request: Request, sandbox: Sandbox) -> Response:
    document = sandbox.ledger.get(number)
    if document is None:
        raise refused("/IWBEP/CM_MGW_RT/020", f"Resource not found for segment A_SalesOrder({quoted(number)})", "", 404)
    return _answer(request, sandbox, {"d": _entity(request, document, _options(request))})


@_router.post("/A_SalesOrder", response_model=None)
async def _create(request: Request, sandbox: Sandbox) -> Response:
    if not sandbox.tokens.spend(request.cookies.get(SESSION_COOKIE), request.headers.get("x-csrf-token")):
        return PlainTextResponse("CSRF token validation failed", 403, {"x-csrf-token": "Required"})
    order = parse_order(await request.body())
    reference, plan = order.purchase_order_by_customer, sandbox.plan
    attempt = sandbox.ledger.next_attempt(reference)
    fault = plan.fault(reference, attempt)
    sandbox.ledger.note_post(reference, fault)
    await asyncio.sleep(plan.latency_seconds(reference, attempt))
    if fault is not None:
        return await _go_wrong(request, sandbox, order, attempt, fault)
    document = await sandbox.ledger.book(order)
    entity = _entity(request, document, {"$expand": "to_Item"})
    return JSONResponse({"d": entity}, 201, {**_JSON_HEADERS, "location": entity["__metadata"]["uri"]})


async def _go_wrong(request: Request, sandbox: SapSandbox, order: SalesOrder, attempt: int, fault: Fault) -> Response:
    reference = order.purchase_order_by_customer
    match fault:
        case Fault.ERROR:
            raise _broken(sandbox, sandbox.plan.error_status(reference, attempt))
        case Fault.LOST:
            await sandbox.ledger.book(order)
            sever(request)
        case Fault.LATE:
            sever(request)
            sandbox.book_late(order, sandbox.plan.late_commit_seconds(reference, attempt))
        case Fault.TIMEOUT:
            pass
    await gone(request)
    return Response()  # the server drops it, since the client has gone


def _broken(sandbox: SapSandbox, status: int) -> ODataError:
    if status == 503:
        return ODataError(503, refused("/IWFND/CM_BEC/026", "No free work process").details, _retry_after(sandbox))
    return refused("SY/530", "An exception was raised while the order was saved; nothing was posted", status=500)


def _retry_after(sandbox: SapSandbox) -> dict[str, str]:
    seconds = sandbox.plan.settings.retry_after_seconds
    return {} if seconds is None else {"retry-after": str(seconds)}


def _answer(request: Request, sandbox: SapSandbox, body: dict[str, Any]) -> Response:
    response = JSONResponse(body, headers=_JSON_HEADERS)
    if request.headers.get("x-csrf-token", "").lower() == "fetch":
        session = sandbox.tokens.issue(request.cookies.get(SESSION_COOKIE))
        response.headers["x-csrf-token"] = session.token
        response.set_cookie(SESSION_COOKIE, session.cookie, path="/", httponly=True)
    return response


def _options(request: Request) -> dict[str, str]:
    options = dict(request.query_params)
    for name, value in options.items():
        if name not in _OPTIONS:
            raise refused("/IWFND/CM_MGW_RT/021", f"Query option {name} is not supported", name)
        if name == "$format" and value != "json":
            raise refused("/IWFND/CM_MGW_RT/021", f"$format {value!r} is not supported; this service speaks json", name)
        if name == "$expand" and value != "to_Item":
            raise refused("/IWBEP/CM_MGW_RT/021", f"Navigation property {value!r} is unknown; there is to_Item", name)
    return options


def _top(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise refused("/IWFND/CM_MGW_RT/021", f"Invalid $top {text!r}: a number of 0 or more is needed", "$top")
    return int(text)


def _entity(request: Request, document: Document, options: dict[str, str]) -> dict[str, Any]:
    uri = f"{request.base_url}{SERVICE[1:]}/A_SalesOrder({quoted(document.number)})"
    expanded = options.get("$expand") == "to_Item"
    entity: dict[str, Any] = {
        "SalesOrder": document.number,
        **document.head,
        "TotalNetAmount": document.net_amount,
        "CreationDate": date_literal(document.created_ms),
        "to_Item": {"results": _items(document, uri)} if expanded else {"__deferred": {"uri": f"{uri}/to_Item"}},
    }
    if "$select" in options:
        chosen = [name.strip() for name in options["$select"].split(",")]
        if unknown := [name for name in chosen if name not in entity]:
            raise refused("/IWBEP/CM_MGW_RT/021", f"Property {unknown[0]!r} in $select is unknown", "$select")
        entity = {name: entity[name] for name in chosen}
    metadata = {"id": uri, "uri": uri, "type": "API_SALES_ORDER_SRV.A_SalesOrderType"}
    return {"__metadata": metadata, **entity}


def _items(document: Document, uri: str) -> list[dict[str, Any]]:
    return [
        {
            "__metadata": {
                "uri": uri.replace("A_SalesOrder(", "A_SalesOrderItem(SalesOrder=")[:-1]
                + f",SalesOrderItem={quoted(item.number)})",
                "type": "API_SALES_ORDER_SRV.A_SalesOrderItemType",
            },
            "SalesOrder": document.number,
            "SalesOrderItem": item.number,
            "Material": item.material,
            "RequestedQuantity": item.quantity,
            "RequestedQuantityUnit": item.unit,
            "NetAmount": item.net_amount,
            "TransactionCurrency": document.head["TransactionCurrency"],
        }
        for item in document.items
    ]
