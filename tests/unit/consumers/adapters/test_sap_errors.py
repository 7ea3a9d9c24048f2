import datetime as dt
from typing import Any

import httpx
import pytest

from consumers.adapters.erp import ErpRefused, ErpUnavailable
from consumers.adapters.sap_errors import error_of, odata_message, retry_after

NOW = dt.datetime(2026, 11, 22, 19, 0, 0, tzinfo=dt.UTC)


def answer(status: int, json: Any = None, method: str = "POST", **headers: str) -> httpx.Response:
    request = httpx.Request(method, "http://sap.example/")
    if json is None:
        return httpx.Response(status, headers=headers, text="<html>Bad\n gateway</html>", request=request)
    return httpx.Response(status, headers=headers, json=json, request=request)


def odata(*details: str) -> dict[str, Any]:
    inner = {"errordetails": [{"code": "X", "message": message} for message in details]}
    return {"error": {"code": "SD/1", "message": {"lang": "en", "value": "Not saved"}, "innererror": inner}}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("100000000000000", 24 * 3600.0),
        ("120", 120.0),
        ("Sun, 22 Nov 2026 19:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 20:00:30 +0100", 30.0),
        ("Sun, 22 Nov 2026 18:59:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}, NOW) == seconds


def test_no_retry_after_is_none() -> None:
    assert retry_after({}, NOW) is None


def test_an_odata_error_has_each_of_its_details_once() -> None:
    body = odata("Not saved", "Material X unknown", "Material X unknown", "Unit missing")
    assert odata_message(answer(400, body)) == "SD/1 Not saved; Material X unknown; Unit missing"


@pytest.mark.parametrize("body", [[], {"error": "no"}, {"error": {"code": "1"}}, {"fault": {}}, "text"])
def test_another_body_is_no_odata_error(body: Any) -> None:
    assert odata_message(answer(400, body)) is None


@pytest.mark.parametrize(
    ("response", "uncertain"),
    [
        (answer(500, odata()), False),
        (answer(500), True),
        (answer(502), True),
        (answer(504, odata()), True),
        (answer(503), False),
        (answer(429), False),
        (answer(408), False),
        (answer(502, method="GET"), False),
    ],
)
def test_what_may_pass_is_worth_another_attempt(response: httpx.Response, uncertain: bool) -> None:
    error = error_of("creation", response, NOW)
    assert isinstance(error, ErpUnavailable)
    assert error.uncertain is uncertain


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 409, 422])
def test_what_stays_is_refused(status: int) -> None:
    error = error_of("creation of order 'R-1'", answer(status), NOW)
    assert isinstance(error, ErpRefused)
    assert str(error) == f"creation of order 'R-1': SAP answered {status}: <html>Bad gateway</html>"


def test_the_time_to_wait_travels_with_the_error() -> None:
    error = error_of("creation", answer(503, odata(), **{"Retry-After": "9"}), NOW)
    assert isinstance(error, ErpUnavailable)
    assert error.retry_after == 9.0
