"""SAP's HTTP answers as errors of `consumers.adapters.erp`. Called by `consumers.adapters.sap`.

After a POST one question matters: may a document exist? `ErpUnavailable.uncertain` answers it.
"""

import datetime as dt
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from consumers.adapters.erp import ErpError, ErpRefused, ErpUnavailable
from orders.workflow import ErrorKind

# A gateway in front of SAP stopped waiting; SAP itself may have continued.
_GATEWAY_STATUS = frozenset({502, 504})
_KINDS = {408: ErrorKind.TIMEOUT, 429: ErrorKind.THROTTLED, 504: ErrorKind.TIMEOUT}
_TRY_AGAIN = frozenset({408, 429})
# Longer than any maintenance announces itself; a wrong header must not park an order for years.
_LONGEST_RETRY_AFTER_SECONDS = 24 * 3600.0
_LONGEST_EXCERPT = 300  # characters of a body that is not OData


def error_of(asked: str, response: httpx.Response, now: dt.datetime) -> ErpError:
    """The error for an answer other than 2xx. An HTTP date in Retry-After is compared with `now`."""
    odata_error = odata_message(response)
    status = response.status_code
    message = f"{asked}: SAP answered {status}: {odata_error or _excerpt(response)}"
    if status < 500 and status not in _TRY_AGAIN:
        return ErpRefused(message)
    # SAP sends a 500 with an OData error after its rollback; any other 500 proves nothing. A read commits nothing.
    outcome_unknown = status in _GATEWAY_STATUS or (status == 500 and odata_error is None)
    uncertain = outcome_unknown and response.request.method == "POST"
    kind = _KINDS.get(status, ErrorKind.SERVER)
    return ErpUnavailable(message, kind=kind, uncertain=uncertain, retry_after=retry_after(response.headers, now))


def odata_message(response: httpx.Response) -> str | None:
    """Code, message and details of an OData V2 error body in one line; None if the body is something else."""
    try:
        error = response.json()["error"]
        main = f"{error['code']} {_text(error['message'])}"
    except (ValueError, KeyError, TypeError):
        return None
    details = [entry for entry in _details(error) if entry not in main]
    return "; ".join([main, *dict.fromkeys(details)])


def retry_after(headers: Mapping[str, str], now: dt.datetime) -> float | None:
    """Seconds from Retry-After, a number of seconds or an HTTP date, a day at most; None when absent or neither."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(_LONGEST_RETRY_AFTER_SECONDS, float(value))
    try:
        due = parsedate_to_datetime(value)
    except ValueError:
        return None
    if due.tzinfo is None:
        due = due.replace(tzinfo=dt.UTC)
    return min(_LONGEST_RETRY_AFTER_SECONDS, max(0.0, (due - now).total_seconds()))


def _text(message: Any) -> str:  # noqa: ANN401  # V2 has {"lang", "value"}, a proxy in front may have a string
    return str(message["value"] if isinstance(message, dict) else message)


def _details(error: dict[str, Any]) -> list[str]:
    inner = error.get("innererror")
    entries = inner.get("errordetails") if isinstance(inner, dict) else None
    return [str(entry.get("message", "")) for entry in entries or () if isinstance(entry, dict)]


def _excerpt(response: httpx.Response) -> str:
    return " ".join(response.text.split())[:_LONGEST_EXCERPT] or "with an empty body"
