"""What can go wrong with SAP, told apart by what the caller may do next, and read from what SAP answered.

The question that matters after a POST is whether a document may exist: `uncertain` says so, and only then must the
caller wait out SAP's longest commit and look before it tries again.
"""

import datetime as dt
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from orders.workflow import ErrorKind

# Whoever stands in front of SAP gave up waiting; SAP itself may well have gone on.
_GATEWAY_GAVE_UP = frozenset({502, 504})
_KINDS = {408: ErrorKind.TIMEOUT, 429: ErrorKind.THROTTLED, 504: ErrorKind.TIMEOUT}
_TRY_AGAIN = frozenset({408, 429})
# Longer than any maintenance announces itself; a wrong header must not park an order for years.
_LONGEST_RETRY_AFTER_SECONDS = 24 * 3600.0
_LONGEST_EXCERPT = 300  # characters of a body that is not OData


class SapError(Exception):
    """Something about SAP; the message says what was asked and what came back."""


class SapRefused(SapError):  # noqa: N818  # reads as what happened
    """SAP said no and will say it again; a person must look."""

    kind = ErrorKind.REFUSED


class SapUnavailable(SapError):  # noqa: N818
    """Worth another try.

    `uncertain`: a document may have been committed, or may yet be. `retry_after`: seconds SAP asked to wait, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind = ErrorKind.SERVER,
        uncertain: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.uncertain = uncertain
        self.retry_after = retry_after


class SapUnreached(SapUnavailable):
    """No connection came about, so nothing was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind=ErrorKind.CONNECTION)


def error_of(asked: str, response: httpx.Response, now: dt.datetime) -> SapError:
    """The error that an answer other than 2xx stands for; `now` is what an HTTP date in Retry-After is held against."""
    said = odata_message(response)
    status = response.status_code
    message = f"{asked}: SAP answered {status}: {said or _excerpt(response)}"
    if status < 500 and status not in _TRY_AGAIN:
        return SapRefused(message)
    # A 500 in SAP's own words comes after its rollback; any other 500 proves nothing. A read commits nothing at all.
    open_end = status in _GATEWAY_GAVE_UP or (status == 500 and said is None)
    uncertain = open_end and response.request.method == "POST"
    kind = _KINDS.get(status, ErrorKind.SERVER)
    return SapUnavailable(message, kind=kind, uncertain=uncertain, retry_after=retry_after(response.headers, now))


def odata_message(response: httpx.Response) -> str | None:
    """code, message and details of an OData V2 error body in one line; None when the body is something else."""
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
