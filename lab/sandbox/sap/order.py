"""A sales order as the service accepts it, with the net amounts that SAP computes.

Every property that is not listed is refused, also a NetAmount that a client sends. Amounts come from quantity and
pricing elements alone: PPR0 is the price per pricing unit, K007 and DRN1 are percentage discounts.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_pascal

from lab.sandbox.sap.odata import Detail, ODataError, refused

PRICE = "PPR0"
DISCOUNTS = frozenset({"K007", "DRN1"})

_CENT = Decimal("0.01")
_EXACT = Context(prec=60)


def _edm_decimal(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("an Edm.Decimal travels as a string")  # noqa: TRY004  # pydantic wants ValueError
    return value


def _results(value: object) -> object:
    """A deep insert's collection: a list, or a list under `results`."""
    return value["results"] if isinstance(value, Mapping) and set(value) == {"results"} else value


Rate = Annotated[Decimal, BeforeValidator(_edm_decimal), Field(max_digits=24, decimal_places=9)]
Quantity = Annotated[Decimal, BeforeValidator(_edm_decimal), Field(max_digits=15, decimal_places=3, gt=0)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class _Entity(BaseModel):
    model_config = ConfigDict(alias_generator=to_pascal, extra="forbid", frozen=True, strict=False)


class PricingElement(_Entity):
    """A_SalesOrderItemPrElement."""

    condition_type: str = Field(min_length=1, max_length=4)
    condition_rate_value: Rate
    condition_currency: str = Field(default="", max_length=5)
    condition_quantity: Quantity = Decimal(1)
    condition_quantity_unit: str = Field(default="", max_length=3)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.condition_type not in {PRICE, *DISCOUNTS}:
            raise ValueError(f"condition type {self.condition_type} is not allowed in pricing procedure 17 A17J01")
        if self.condition_type in DISCOUNTS and abs(self.condition_rate_value) > 100:
            raise ValueError(f"{self.condition_rate_value} is more than 100 percent")
        if self.condition_type == PRICE and self.condition_rate_value < 0:
            raise ValueError(f"price {self.condition_rate_value} is negative")
        return self


Pricing = Annotated[list[PricingElement], BeforeValidator(_results), Field(min_length=1)]


class Item(_Entity):
    """A_SalesOrderItem."""

    material: str = Field(min_length=1, max_length=40)
    requested_quantity: Quantity
    requested_quantity_unit: str = Field(default="PC", max_length=3)
    to_pricing_element: Pricing = Field(alias="to_PricingElement")

    @model_validator(mode="after")
    def _priced_once(self) -> Self:
        types = [element.condition_type for element in self.to_pricing_element]
        if types.count(PRICE) != 1:
            raise ValueError(f"needs exactly one {PRICE} condition, has {types.count(PRICE)}")
        if len(set(types)) < len(types):
            raise ValueError(f"condition types repeat: {', '.join(types)}")
        return self

    def net_amount(self) -> Decimal:
        """Price x quantity x (1 - discount), each discount on the result of the one before; half up to the cent."""
        net = Decimal(0)
        for element in sorted(self.to_pricing_element, key=lambda one: one.condition_type != PRICE):
            if element.condition_type == PRICE:
                price = _EXACT.divide(element.condition_rate_value, element.condition_quantity)
                net = _EXACT.multiply(price, self.requested_quantity)
            else:
                # A discount's sign belongs to its condition type: 10 and -10 both take ten percent off.
                kept = Decimal(1) - _EXACT.divide(abs(element.condition_rate_value), Decimal(100))
                net = _EXACT.multiply(net, kept)
        return net.quantize(_CENT, ROUND_HALF_UP, context=_EXACT)


class SalesOrder(_Entity):
    """A_SalesOrder as it is posted. Both customer references are CHAR 35 in SAP."""

    sales_order_type: str = Field(min_length=1, max_length=4)
    sales_organization: str = Field(min_length=1, max_length=4)
    distribution_channel: str = Field(min_length=1, max_length=2)
    organization_division: str = Field(min_length=1, max_length=2)
    sold_to_party: str = Field(min_length=1, max_length=10)
    transaction_currency: Currency
    purchase_order_by_customer: str = Field(min_length=1, max_length=35)
    purchase_order_by_ship_to_party: str = Field(default="", max_length=35)
    to_item: Annotated[list[Item], BeforeValidator(_results)] = Field(alias="to_Item", min_length=1)

    @model_validator(mode="after")
    def _one_currency(self) -> Self:
        for number, item in enumerate(self.to_item):
            for element in item.to_pricing_element:
                if element.condition_type == PRICE and element.condition_currency != self.transaction_currency:
                    raise ValueError(
                        f"to_Item/{number} is priced in {element.condition_currency or 'no currency'}, "
                        f"the order is in {self.transaction_currency}"
                    )
        return self


def parse_order(body: bytes) -> SalesOrder:
    """The posted order. Raises ODataError 400 that names each property at fault."""
    try:
        return SalesOrder.model_validate_json(body)
    except ValidationError as error:
        raise ODataError(400, [_detail(dict(problem)) for problem in error.errors()]) from error


def _detail(problem: dict[str, Any]) -> Detail:
    target = "/".join(str(part) for part in problem["loc"])
    if problem["type"] == "json_invalid":
        return refused("/IWFND/CM_MGW_RT/022", f"The body is not JSON: {problem['msg']}").details[0]
    if problem["type"] == "missing":
        return Detail("SLS_LO/401", f"Property {target} is missing", target)
    if problem["type"] == "extra_forbidden":
        return Detail("/IWBEP/CM_MGW_RT/021", f"Property {target} is unknown or read-only", target)
    if problem["type"] == "string_too_long":
        limit, given = problem["ctx"]["max_length"], problem["input"]
        return Detail(
            "/IWBEP/CM_MGW_RT/194",
            f"Property {target} has {len(given)} characters, at most {limit} are allowed: {given!r}",
            target,
        )
    return Detail("SLS_LO/402", f"Property {target or 'A_SalesOrder'} is invalid: {problem['msg']}", target)
