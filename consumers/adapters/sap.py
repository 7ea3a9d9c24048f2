"""Client of the S/4HANA sales order API (OData V2, API_SALES_ORDER_SRV). It implements `consumers.adapters.erp.Erp`.

A POST is never repeated once a byte of it may have been sent: SAP does not dedupe, so the caller repeats it, after a
look-up. The client repeats, briefly, only calls that cannot book anything twice: reads, and a POST without a
connection. Prices travel as pricing elements. No net amount is sent: SAP returns its own for the caller to compare.
"""

import asyncio
import datetime as dt
import functools
import ssl
from collections.abc import Awaitable, Callable
from decimal import Decimal, DecimalException
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

import httpx
from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential_jitter,
)

from consumers.adapters.erp import (
    AmbiguousDocuments,
    ErpUnavailable,
    ErpUnreached,
    SalesDocument,
    SalesOrderDraft,
    SalesOrderItem,
)
from consumers.adapters.http_span import http_call, trace_headers
from consumers.adapters.sap_errors import error_of
from orders.workflow import ErrorKind
from runtime.settings import Settings

_SERVICE = "/sap/opu/odata/sap/API_SALES_ORDER_SRV"
_NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_LONGEST_CONNECT_SECONDS = 5.0
_LONGEST_PROBE_SECONDS = 5.0
# Shorter than any server keeps an idle connection (SAP's ICM 30 s). A POST on a connection that the server has just
# closed counts as uncertain, and then the order waits for a whole commit time.
_KEEPALIVE_SECONDS = 3.0
_CALLS = 3


class SapClient:
    """See `Erp`. Keeps its connections, session cookies and CSRF token between calls."""

    def __init__(self, settings: Settings, http: httpx.AsyncClient | None = None) -> None:
        """Without `http` the client makes its own; `aclose` closes either."""
        self._settings = settings
        self._http = http or httpx.AsyncClient(
            timeout=httpx.Timeout(
                settings.sap_timeout_seconds, connect=min(_LONGEST_CONNECT_SECONDS, settings.sap_timeout_seconds)
            ),
            limits=httpx.Limits(keepalive_expiry=_KEEPALIVE_SECONDS),
            verify=_tls(),
        )
        self._service = settings.sap_url.rstrip("/") + _SERVICE
        self._auth = httpx.BasicAuth(settings.sap_user, settings.sap_password.get_secret_value())
        self._token: str | None = None
        self._fetching = asyncio.Lock()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def is_away(self) -> bool:
        """See `Erp`. One quick read of the service's root, with the same log-on as every call."""
        try:
            async with asyncio.timeout(min(_LONGEST_PROBE_SECONDS, self._settings.sap_timeout_seconds)):
                response = await self._send("GET", "probe", f"{self._service}/?$format=json", {})
        except (ErpUnavailable, TimeoutError):
            return True
        return not response.is_success

    async def find(self, order_number: str, order_id: UUID) -> SalesDocument | None:
        """See `Erp`."""
        options = {
            "$filter": f"PurchaseOrderByCustomer eq {_literal(order_number)}"
            f" and PurchaseOrderByShipToParty eq {_literal(order_id.hex)}",
            "$select": "SalesOrder,TotalNetAmount,TransactionCurrency",
            "$top": "2",
            "$format": "json",
        }
        asked = f"look-up of order {order_number!r}"
        response = await self._read(asked, "/A_SalesOrder", options)
        found = [_document(asked, entity) for entity in _payload(asked, response, "results")]
        if len(found) > 1:
            numbers = [document.number for document in found]
            raise AmbiguousDocuments(
                f"order {order_number!r} has more than one document in SAP: {' and '.join(numbers)}; cancel one there",
                numbers,
            )
        return found[0] if found else None

    async def create(self, draft: SalesOrderDraft) -> SalesDocument:
        """See `Erp`."""
        asked = f"creation of order {draft.order_number!r}"
        body = _deep_insert(draft, self._settings)
        token = await self._csrf_token(stale=None)
        response = await self._post(asked, body, token)
        if _token_refused(response):
            response = await self._post(asked, body, await self._csrf_token(stale=token))
        if _token_refused(response):
            raise ErpUnavailable(f"{asked}: SAP refused a CSRF token that it had just issued")
        if not response.is_success:
            raise error_of(asked, response, dt.datetime.now(dt.UTC))
        try:
            return _document(asked, _payload(asked, response))
        except ErpUnavailable as error:
            raise ErpUnavailable(str(error), uncertain=True) from error

    async def _csrf_token(self, *, stale: str | None) -> str:
        """The kept token; a new one if none is kept or the kept one is `stale`. Concurrent tasks share one fetch."""
        async with self._fetching:
            if self._token is None or self._token == stale:
                asked = "fetch of a CSRF token"
                response = await self._read(asked, "/", {"$format": "json"}, {"X-CSRF-Token": "Fetch"})
                self._token = response.headers.get("x-csrf-token")
            if not self._token:
                raise ErpUnavailable("fetch of a CSRF token: SAP's answer has no X-CSRF-Token header")
            return self._token

    async def _read(
        self, asked: str, path: str, options: dict[str, str], headers: dict[str, str] | None = None
    ) -> httpx.Response:
        # SAP reads a plus sign in a query literally, hence %20.
        url = f"{self._service}{path}?{urlencode(options, quote_via=quote, safe='$,')}"

        async def once() -> httpx.Response:
            response = await self._send("GET", asked, url, headers or {})
            if not response.is_success:
                raise error_of(asked, response, dt.datetime.now(dt.UTC))
            return response

        return await self._repeat_briefly(once, _is_transient)

    async def _post(self, asked: str, body: dict[str, Any], token: str) -> httpx.Response:
        async def once() -> httpx.Response:
            return await self._send("POST", asked, f"{self._service}/A_SalesOrder", {"X-CSRF-Token": token}, body)

        return await self._repeat_briefly(once, lambda error: isinstance(error, ErpUnreached))

    async def _send(
        self, method: str, asked: str, url: str, headers: dict[str, str], body: dict[str, Any] | None = None
    ) -> httpx.Response:
        limit = self._settings.sap_timeout_seconds
        posted = method == "POST"
        with http_call(method, url, _SERVICE, asked) as span:
            sent = {"Accept": "application/json", **trace_headers(), **headers}
            try:
                # httpx limits each read and write; SAP_TIMEOUT_SECONDS is for the call as a whole.
                async with asyncio.timeout(limit):
                    response = await self._http.request(method, url, headers=sent, json=body, auth=self._auth)
            except _NOTHING_SENT as error:
                raise ErpUnreached(f"{asked}: no connection to {self._settings.sap_url}: {error!r}") from error
            except (TimeoutError, httpx.TimeoutException) as error:
                message = f"{asked}: no answer from SAP within {limit:g} s"
                raise ErpUnavailable(message, kind=ErrorKind.TIMEOUT, uncertain=posted) from error
            except httpx.TransportError as error:
                message = f"{asked}: connection to SAP lost: {error!r}"
                raise ErpUnavailable(message, kind=ErrorKind.CONNECTION, uncertain=posted) from error
            span.note({"http.response.status_code": response.status_code})
            if not response.is_success:
                span.note({"error.type": str(response.status_code)})
                span.failed(f"answered {response.status_code}")
            return response

    async def _repeat_briefly(
        self, once: Callable[[], Awaitable[httpx.Response]], may_repeat: Callable[[BaseException], bool]
    ) -> httpx.Response:
        """Up to three calls within a second or two; a call that ran into the time-out is the last."""
        retrying = AsyncRetrying(
            stop=stop_after_attempt(_CALLS) | stop_after_delay(self._settings.sap_timeout_seconds),
            wait=wait_exponential_jitter(multiplier=0.1, max=1.0, jitter=0.1),
            retry=retry_if_exception(may_repeat),
            reraise=True,
        )
        return await retrying(once)


@functools.cache
def _tls() -> ssl.SSLContext:
    """Shared by all clients of a process and its forks: reading the certificate authorities takes 0.1 s."""
    return httpx.create_ssl_context()


def _is_transient(error: BaseException) -> bool:
    # A server that names a time to wait is not called again before: the caller schedules that.
    return isinstance(error, ErpUnavailable) and error.retry_after is None


def _token_refused(response: httpx.Response) -> bool:
    required = response.headers.get("x-csrf-token", "").lower() == "required"
    return required and response.status_code == HTTPStatus.FORBIDDEN


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _payload(asked: str, response: httpx.Response, *path: str) -> Any:  # noqa: ANN401  # JSON as it came
    try:
        payload = response.json()["d"]
        for key in path:
            payload = payload[key]
    except (ValueError, KeyError, TypeError) as error:
        raise ErpUnavailable(f"{asked}: SAP's answer is not OData V2: {response.text[:300]!r}") from error
    return payload


def _document(asked: str, entity: Any) -> SalesDocument:  # noqa: ANN401  # JSON as it came
    try:
        number, currency = entity["SalesOrder"], entity["TransactionCurrency"]
        return SalesDocument(str(number), Decimal(entity["TotalNetAmount"]), str(currency))
    except (KeyError, TypeError, ValueError, DecimalException) as error:
        raise ErpUnavailable(f"{asked}: SAP's answer lacks number, net amount or currency: {entity!r}") from error


def _deep_insert(draft: SalesOrderDraft, settings: Settings) -> dict[str, Any]:
    return {
        "SalesOrderType": settings.sap_sales_order_type,
        "SalesOrganization": settings.sap_sales_organization,
        "DistributionChannel": settings.sap_distribution_channel,
        "OrganizationDivision": settings.sap_division,
        "SoldToParty": settings.sap_sold_to_party,
        "TransactionCurrency": draft.currency,
        "PurchaseOrderByCustomer": draft.order_number,
        "PurchaseOrderByShipToParty": draft.order_id.hex,
        "to_Item": [_item(item, draft.currency) for item in draft.items],
    }


def _item(item: SalesOrderItem, currency: str) -> dict[str, Any]:
    price = {
        "ConditionType": "PPR0",
        "ConditionRateValue": format(item.unit_price, "f"),
        "ConditionCurrency": currency,
        "ConditionQuantity": "1",
    }
    percent = format(-100 * item.discount, "f")
    discount = [{"ConditionType": "K007", "ConditionRateValue": percent}] if item.discount else []
    return {
        "Material": item.sku,
        "RequestedQuantity": str(item.quantity),
        "to_PricingElement": [price, *discount],
    }
