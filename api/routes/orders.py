"""The routes of orders: place one, read one, list them, read a timeline, fetch an invoice.

Placing is the hot path: one parse, one statement, a prepared answer. It promises that a 202 means order, lines and
event are committed together, and that a reference makes at most one order however often it is sent.
"""

from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from api import page_token
from api.body import read_json
from api.openapi import ORDER_BODY, problems
from api.problems import ProblemError, not_found
from api.schemas import parse_order
from api.services import Services, services
from api.views import AcceptedView, OrderPage, OrderView, TimelineView, order_page, order_view, timeline_view
from orders import invoices, repository, service
from orders.model import Order, Status
from orders.tracking.load import load_timeline, repeatable_read
from outbox.dead_letters.still_open import open_dead_letters_of, with_open_dead_letters
from runtime.documents import DocumentStoreError
from runtime.log_context import bind_order, redact
from runtime.logging import get_logger

router = APIRouter(tags=["orders"])

OrderId = Annotated[
    str,
    Path(description="the `order_id` of the accepted order", json_schema_extra={"format": "uuid"}),
]
_PAGE_SIZE = 50

log = get_logger(__name__)


@router.post(
    "/orders",
    status_code=HTTPStatus.ACCEPTED,
    response_model=AcceptedView,
    openapi_extra=ORDER_BODY,
    summary="Place an order",
    responses={
        HTTPStatus.ACCEPTED.value: {
            "headers": {"Location": {"schema": {"type": "string"}, "description": "where the order can be read"}}
        },
        **problems(
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.CONFLICT,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
    },
)
async def place_order(request: Request) -> Response:
    """Accept an order: everything that it sets off then happens once, and by itself.

    A `reference` that was accepted before is a 409 with the first order's Location, so sending again is safe.
    """
    edge = services(request)
    try:
        order_id = await _place(request, edge)
    except ProblemError as problem:
        edge.metrics.refused.labels(problem.slug).inc()
        raise
    edge.metrics.accepted.inc()
    log.info("order_accepted")
    return Response(
        f'{{"order_id":"{order_id}","status":"{Status.PENDING}"}}',
        HTTPStatus.ACCEPTED,
        {"Location": f"/orders/{order_id}"},
        "application/json",
    )


async def _place(request: Request, edge: Services) -> UUID:
    order = parse_order(await read_json(request))
    redact(*order.customer.private)
    async with edge.single.connect() as tx:
        outcome = await service.place(tx, order, edge.settings.event_source)
    if isinstance(outcome, service.Placed):
        edge.hint.give()  # committed: the statement was the transaction
        bind_order(outcome.order_id, outcome.event_id)
        return outcome.order_id
    raise ProblemError(
        HTTPStatus.CONFLICT,
        "reference-taken",
        f"an order with reference {order.reference!r} was accepted before; this one made nothing",
        headers={"Location": f"/orders/{outcome.order_id}"},
        members={"order_id": str(outcome.order_id)},
    )


@router.get(
    "/orders",
    response_model=OrderPage,
    summary="List orders, newest first",
    responses=problems(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def list_orders(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=200, description="orders per page")] = _PAGE_SIZE,
    cursor: Annotated[str | None, Query(description="from the `next` of the page before")] = None,
) -> Response:
    """One page of orders. Follow `next` as it is; a page never repeats or skips an order of the pages before."""
    before = None if cursor is None else page_token.decode(cursor)
    async with services(request).single.connect() as tx:
        # One more than is shown tells whether there is a next page.
        orders = await repository.newest(tx, limit + 1, before)
        needing_attention = await with_open_dead_letters(tx, [str(order.id) for order in orders])
    return _json(order_page(orders[:limit], needing_attention, _next_page(orders, limit)))


@router.get(
    "/orders/{order_id}",
    response_model=OrderView,
    summary="Read an order",
    responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def get_order(request: Request, order_id: OrderId) -> Response:
    """An order with the state of each step, its SAP document, its invoice number and why it was rejected.

    `needs_attention` says that a message about it was dead-lettered. The order continues when an operator replays it.
    """
    async with services(request).single.connect() as tx:
        order = await _order(tx, order_id)
        steps = await service.progress(tx, order)
        dead_letters = await open_dead_letters_of(tx, str(order.id))
    return _json(order_view(order, steps, dead_letters))


@router.get(
    "/orders/{order_id}/timeline",
    response_model=TimelineView,
    summary="Read an order's timeline",
    responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def get_timeline(request: Request, order_id: OrderId) -> Response:
    """Everything that happened to an order, with the gaps between, and what it waits for now.

    Accepted; each event committed, published, confirmed; each attempt at a step with its worker, duration and error;
    dead letters and what operators did about them.
    """
    async with repeatable_read(services(request).single).begin() as tx:
        order = await _order(tx, order_id)
        timeline = await load_timeline(tx, order)
    return _json(timeline_view(order, timeline))


@router.get(
    "/orders/{order_id}/invoice.pdf",
    response_class=Response,
    summary="Fetch an order's invoice",
    responses={
        HTTPStatus.OK.value: {"content": {"application/pdf": {"schema": {"type": "string", "format": "binary"}}}},
        **problems(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    },
)
async def get_invoice(request: Request, order_id: OrderId) -> Response:
    """The invoice as PDF; 404 until it is made, and for good when the order is rejected."""
    edge = services(request)
    async with edge.single.connect() as tx:
        order = await _order(tx, order_id)
        invoice = await invoices.invoice_of(tx, order.id)
    if invoice is None or invoice.document is None:
        raise not_found(_no_invoice(order))
    pdf = await edge.documents.get(invoice.document)
    if pdf is None:
        raise DocumentStoreError(f"invoice {invoice.number} of order {order.id}: no document {invoice.document!r}")
    return Response(
        pdf,
        media_type="application/pdf",
        headers={"Content-Disposition": f'inline; filename="{invoice.number}.pdf"'},
    )


async def _order(tx: AsyncConnection, order_id: str) -> Order:
    """The order with this id from a path. Raises ProblemError, a 404 also for text that is no UUID."""
    try:
        order = await repository.get(tx, UUID(order_id))
    except ValueError:
        order = None
    if order is None:
        raise not_found(f"there is no order {order_id[:100]!r}")
    bind_order(order.id)
    redact(*order.customer.private)
    return order


def _no_invoice(order: Order) -> str:
    if order.status is Status.REJECTED:
        return f"order {order.id} was rejected, so it gets no invoice"
    return f"order {order.id} has no invoice yet: it is {order.status}; ask again later"


def _next_page(orders: list[Order], limit: int) -> str | None:
    if len(orders) <= limit:
        return None
    last = orders[limit - 1]
    return "/orders?" + urlencode({"limit": limit, "cursor": page_token.encode(last.placed_at, last.id)})


def _json(view: OrderView | OrderPage | TimelineView) -> Response:
    return Response(view.model_dump_json(by_alias=True), media_type="application/json")
