"""AMQP header values as JSON and back, so that Postgres keeps a dead letter's headers without loss. Pure.

JSON has no bytes, times or decimals, and jsonb no NUL, no lone surrogate and no difference between 1 and 1.0. Such a
value becomes an object with one key that begins with `$`; a table with such a key, or with a key that is no plain text,
becomes a list of pairs. Texts and whole numbers, all that the relay sends, stay as they are. Called by
`consumers.collector` (to JSON) and `replay_plan` (back).
"""

import base64
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any


def to_json(value: object) -> Any:  # noqa: ANN401 - JSON
    """The JSON form of a value that came in an AMQP table. Raises TypeError for a type that no table holds."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, str) and _plain(value)):
        return value
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return _table(value)
    for kind, tag, written in _TAGGED:
        if isinstance(value, kind):
            return {tag: written(value)}
    raise TypeError(f"{type(value).__name__} is no type of an AMQP table")


def from_json(value: Any) -> Any:  # noqa: ANN401 - JSON
    """The value that `to_json` was given. Raises ValueError for a tag that it does not write."""
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and next(iter(value)).startswith("$"):
        return _untagged(*value.items())
    return {key: from_json(item) for key, item in value.items()}


def _table(table: Mapping[Any, object]) -> dict[str, Any]:
    if all(isinstance(key, str) and _plain(key) and not key.startswith("$") for key in table):
        return {key: to_json(item) for key, item in table.items()}
    return {"$table": [[to_json(key), to_json(item)] for key, item in table.items()]}


def _untagged(tagged: tuple[str, Any]) -> Any:  # noqa: ANN401 - any of the types
    tag, kept = tagged
    if tag not in _READ:
        raise ValueError(f"{tag!r} is no tag of a kept header")
    return _READ[tag](kept)


def _plain(text: str) -> bool:
    """Whether Postgres keeps a text unchanged."""
    return "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


_TAGGED: tuple[tuple[type, str, Callable[[Any], str]], ...] = (
    (str, "$text", lambda value: _base64(value.encode(errors="surrogatepass"))),
    (bytes, "$bytes", _base64),
    (bytearray, "$bytes", _base64),
    (memoryview, "$bytes", _base64),
    (float, "$float", repr),
    (Decimal, "$decimal", str),
    (datetime, "$time", datetime.isoformat),
)
_READ: dict[str, Callable[[Any], Any]] = {
    "$text": lambda kept: base64.b64decode(kept).decode(errors="surrogatepass"),
    "$bytes": base64.b64decode,
    "$float": float,
    "$decimal": Decimal,
    "$time": datetime.fromisoformat,
    "$table": lambda pairs: {from_json(key): from_json(item) for key, item in pairs},
}
