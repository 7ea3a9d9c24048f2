"""OData V2 on the wire, as SAP Gateway writes it: error bodies, dates, decimals, entity links.

Knows nothing of sales orders. An `ODataError` raised anywhere under a route becomes the body that Gateway sends,
with the outer message taken from the first detail.
"""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi import Request
from fastapi.responses import JSONResponse


@dataclass(frozen=True, slots=True)
class Detail:
    """One problem; `target` is the property's path, such as to_Item/0/Material."""

    code: str
    message: str
    target: str = ""

    def body(self) -> dict[str, str]:
        """The entry of `errordetails`."""
        return {
            "code": self.code,
            "message": self.message,
            "propertyref": self.target,
            "severity": "error",
            "target": self.target,
        }


@dataclass(slots=True)
class ODataError(Exception):
    """A refusal or failure with its HTTP status and at least one detail."""

    status: int
    details: list[Detail]
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, object]:
        """The JSON document that OData V2 puts around an error."""
        first = self.details[0]
        return {
            "error": {
                "code": first.code,
                "message": {"lang": "en", "value": first.message},
                "innererror": {
                    "application": {"component_id": "SD-SLS", "service_namespace": "/SAP/", "service_version": "0001"},
                    "transactionid": uuid.uuid4().hex.upper(),
                    "timestamp": f"{dt.datetime.now(dt.UTC):%Y%m%d%H%M%S.%f}0",
                    "errordetails": [detail.body() for detail in self.details],
                },
            }
        }


async def render_odata_error(_request: Request, error: Exception) -> JSONResponse:
    """FastAPI exception handler for ODataError."""
    assert isinstance(error, ODataError)
    return JSONResponse(error.body(), error.status, {"dataserviceversion": "1.0", **error.headers})


def refused(code: str, message: str, target: str = "", status: int = 400) -> ODataError:
    """A refusal with one detail."""
    return ODataError(status, [Detail(code, message, target)])


def date_literal(milliseconds: int) -> str:
    """Edm.DateTime in JSON: milliseconds since 1970, UTC."""
    return f"/Date({milliseconds})/"


def quoted(value: str) -> str:
    """A string as an OData literal, its quotes doubled."""
    return "'" + value.replace("'", "''") + "'"
