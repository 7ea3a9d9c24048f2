"""The order as a client sends it, and how its bytes become a NewOrder. Pure.

It refuses a body that cannot be an order; the validate step decides whether the business accepts the order.
Unknown fields are refused: a misspelt `discount` must not become full price.
"""

import json
from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.config import JsonDict

from api.field_errors import FieldError, from_pydantic
from api.fields import Code, Currency, Discount, Email, Money, Quantity, Text
from api.problems import ProblemError, unacceptable
from orders import model

MAX_LINES = 1000
NET_TOTAL_LIMIT = Decimal(10) ** 16  # numeric(18,2); below it every product has at most 28 digits and is exact

EXAMPLE: JsonDict = {
    "reference": "PO-2026-0815",
    "customer": {
        "name": "Frédérique Citeaux",
        "email": "frederique@blondel.example",
        "address": {
            "street": "24, place Kléber",
            "city": "Strasbourg",
            "country": "France",
            "postal_code": "67000",
        },
    },
    "currency": "EUR",
    "lines": [
        {"sku": "SKU-0011", "quantity": 12, "unit_price": "14.00", "discount": "0.05"},
        {"sku": "SKU-0042", "quantity": 1, "unit_price": "9.80"},
    ],
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AddressRequest(_Strict):
    """The customer's address; half the world has no region, some places no postal code."""

    street: Text
    city: Text
    country: Text
    postal_code: Text | None = None
    region: Text | None = None


class CustomerRequest(_Strict):
    """The customer; the confirmation goes to the e-mail address."""

    name: Text
    email: Email
    address: AddressRequest


class LineRequest(_Strict):
    """One line. Its net is unit_price x quantity x (1 - discount), rounded half up to the cent."""

    sku: Code
    quantity: Quantity
    unit_price: Money
    discount: Discount = Decimal(0)


class OrderRequest(_Strict):
    """An order. `reference` is the client's own name for it and unique: sending it again is safe."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    reference: Code
    customer: CustomerRequest
    currency: Currency
    lines: Annotated[list[LineRequest], Field(min_length=1, max_length=MAX_LINES)]

    def new_order(self) -> model.NewOrder:
        """The same order as `orders.model` has it."""
        address = self.customer.address
        return model.NewOrder(
            reference=self.reference,
            customer=model.Customer(
                self.customer.name,
                self.customer.email,
                model.Address(address.street, address.city, address.country, address.postal_code, address.region),
            ),
            currency=self.currency,
            lines=tuple(model.Line(line.sku, line.quantity, line.unit_price, line.discount) for line in self.lines),
        )


def parse_order(body: bytes) -> model.NewOrder:
    """The order in a request body. Raises ProblemError: 400 unless the body is JSON, 422 unless it is an order."""
    try:
        order = OrderRequest.model_validate_json(body).new_order()
    except ValidationError as error:
        _refuse(error, body)
    if order.net_total >= NET_TOTAL_LIMIT:
        message = f"make a net total of {order.net_total}, which is too large; it must be below {NET_TOTAL_LIMIT}"
        raise unacceptable([FieldError("lines", f"{len(order.lines)} lines", message)])
    return order


def _refuse(error: ValidationError, body: bytes) -> NoReturn:
    problems = error.errors(include_url=False)
    if problems[0]["type"] != "json_invalid":
        raise unacceptable(from_pydantic(problems)) from error
    _refuse_surrogates(body)
    # The parser's message names line and column and holds nothing internal.
    detail = f"the body is not JSON in UTF-8: {problems[0]['ctx']['error']}"
    raise ProblemError(HTTPStatus.BAD_REQUEST, "invalid-json", detail) from error


def _refuse_surrogates(body: bytes) -> None:
    r"""Name the field of a lone surrogate such as "\ud800": the fast parser's error does not name it."""
    if b"\\ud" not in body.lower():
        return
    try:
        OrderRequest.model_validate(json.loads(body.decode()))
    except ValidationError as error:
        raise unacceptable(from_pydantic(error.errors(include_url=False))) from error
    except (ValueError, RecursionError):
        return  # no JSON by any parser
