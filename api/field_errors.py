"""Pydantic's errors as a client needs them: the field's path, the value sent, a sentence. Pure."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_LISTED = 50  # the first fifty are enough to understand a body of 1,000 bad lines
MAX_SHOWN = 100  # characters of a value or of a field's name
BODY = "body"  # the field's name when the whole document is wrong

# Sentences for errors that pydantic words for programmers. Names in braces come from the error's context.
_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not a field of this API; leave it out",
    "int_type": "must be a whole JSON number, without quotes or decimals",
    "int_parsing": "must be a whole number",
    "string_type": "must be a JSON string",
    "string_unicode": "must be text of whole Unicode characters; a lone surrogate is none",
    "string_too_short": "must not be empty; optional fields can be left out",
    "string_too_long": "must be at most {max_length} characters long",
    "list_type": "must be a JSON list",
    "too_short": "must have at least {min_length} item",
    "too_long": "must have at most {max_length} items, not {actual_length}",
    "model_type": "must be a JSON object",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that is wrong: its path such as `lines[0].quantity`, the value as it can be shown, and why."""

    field: str
    value: str | float | bool | None
    message: str


def from_pydantic(errors: Sequence[Mapping[str, Any]], skip: int = 0) -> list[FieldError]:
    """Pydantic's errors as ours, the first MAX_LISTED; `skip` leading parts of each location are not the client's."""
    return [
        FieldError(
            path(error["loc"][skip:]),
            None if error["type"] == "missing" else shown(error["input"]),
            _message(error),
        )
        for error in errors[:MAX_LISTED]
    ]


def sentence(errors: Sequence[FieldError]) -> str:
    """The first error and the number of the others, in one line."""
    first = f"{errors[0].field}: {errors[0].message}"
    return first if len(errors) == 1 else f"{first} (and {len(errors) - 1} more)"


def path(location: Sequence[str | int]) -> str:
    """A location as people write it: `customer.address.city`, `lines[0].sku`."""
    written = ""
    for part in location:
        written += f"[{part}]" if isinstance(part, int) else f".{_short(part)}"
    return written.removeprefix(".") or BODY


def shown(value: object) -> str | float | bool | None:
    """A value as a problem document can carry it: scalars as they are, other values as shortened text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if math.isfinite(value) and abs(value) < 1e15 else _short(str(value))
    if isinstance(value, str):
        return _short(value)
    try:
        return _short(json.dumps(value, ensure_ascii=False, default=str))
    except RecursionError:
        return "…"


def _message(error: Mapping[str, Any]) -> str:
    known = _MESSAGES.get(error["type"])
    return str(error["msg"]) if known is None else known.format_map(error.get("ctx", {}))


def _short(text: str) -> str:
    whole = text.encode("utf-8", "backslashreplace").decode()
    return whole if len(whole) <= MAX_SHOWN else f"{whole[:MAX_SHOWN]}…"
