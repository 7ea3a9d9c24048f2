"""The types of an order's fields: the values that each accepts, and the sentence that refuses others. Pure.

Money comes as a JSON string, because a JSON number has passed through a binary float in most clients and has lost
cents there. Only plain ASCII decimals of bounded length are read, so that "1e999999", "NaN" and ten thousand digits
never become a Decimal.
"""

import re
import unicodedata
from decimal import Decimal
from typing import Annotated, NoReturn

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field, PlainValidator, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

MONEY_PATTERN = r"^[0-9]{1,14}(\.[0-9]{1,4})?$"
DISCOUNT_PATTERN = r"^0(\.[0-9]{1,8})?$"
_MONEY = re.compile(MONEY_PATTERN[1:-1])
_DISCOUNT = re.compile(DISCOUNT_PATTERN[1:-1])
_LINE_BREAKING = {"Cc", "Cs", "Zl", "Zp"}  # Unicode categories: controls, surrogates, line and paragraph separators
# For the OpenAPI document only; the validators below decide.
_TEXT_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]+$"


def _refuse(kind: str, message: str) -> NoReturn:
    # The message is passed as a value: in a template its braces would be read as fields.
    raise PydanticCustomError("waybill", "{message}", {"kind": kind, "message": message})


def money(value: object) -> Decimal:
    """An amount ≥ 0 with at most 14 integer digits and 4 decimals, sent as a string."""
    if not isinstance(value, str):
        _refuse("money", 'must be a JSON string such as "14.00": money sent as a JSON number loses cents')
    if not _MONEY.fullmatch(value):
        _refuse("money", 'must be a plain amount of at least 0, 14 digits and 4 decimals at most, such as "14.00"')
    return Decimal(value)


def discount(value: object) -> Decimal:
    """A fraction ≥ 0 and < 1 with at most 8 decimals, sent as a string or a number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = format(Decimal(repr(value)), "f")
    if not isinstance(value, str) or not _DISCOUNT.fullmatch(value):
        _refuse("discount", 'must be a fraction from 0 to below 1, 8 decimals at most: "0.05" takes 5 % off')
    return Decimal(value)


def text(value: str) -> str:
    """One line of text that is not blank."""
    if not value.isprintable():
        for place, character in enumerate(value):
            if unicodedata.category(character) in _LINE_BREAKING:
                _refuse("text", f"must be one line without control characters; U+{ord(character):04X} at {place}")
    if value.isspace():
        _refuse("text", "must not be only blanks")
    return value


def code(value: str) -> str:
    """Text that a person can read aloud from the screen: printable characters only."""
    if not value.isprintable():
        place = next(place for place, character in enumerate(value) if not character.isprintable())
        _refuse("code", f"must be printable characters only; U+{ord(value[place]):04X} at {place} is none")
    return text(value)


def email(value: str) -> str:
    """A deliverable form of an e-mail address; the network is not used. Test domains (`.example`, `.test`) are fine."""
    try:
        # The normalised form is the one that mail servers compare: domain in lower case, characters composed.
        return validate_email(text(value), check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError as error:
        _refuse("email", f"is not an e-mail address: {error}")


def _bounded(longest: int) -> StringConstraints:
    return StringConstraints(min_length=1, max_length=longest, strict=True)


Money = Annotated[
    Decimal,
    PlainValidator(money),
    WithJsonSchema({"type": "string", "pattern": MONEY_PATTERN, "examples": ["14.00"]}),
]
Discount = Annotated[
    Decimal,
    PlainValidator(discount),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": DISCOUNT_PATTERN},
                {"type": "number", "minimum": 0, "exclusiveMaximum": 1, "multipleOf": 1e-8},
            ],
            "description": "a fraction: 0.05 takes 5 % off",
            "default": "0",
            "examples": ["0.05"],
        }
    ),
]
_one_line = Field(json_schema_extra={"pattern": _TEXT_PATTERN})
Code = Annotated[str, _bounded(100), AfterValidator(code), _one_line]
Text = Annotated[str, _bounded(200), AfterValidator(text), _one_line]
Email = Annotated[str, _bounded(254), AfterValidator(email), Field(json_schema_extra={"format": "email"})]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$", strict=True), Field(examples=["EUR"])]
Quantity = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
