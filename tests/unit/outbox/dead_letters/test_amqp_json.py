"""Whatever an AMQP table holds comes back from JSON as it was, and Postgres takes the JSON."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given

from outbox.dead_letters.amqp_json import from_json, to_json
from outbox.envelope import encode_headers
from tests.support.builders.amqp_values import VALUES
from tests.support.builders.events import new_event


def same(left: Any, right: Any) -> bool:
    """Equal, and of the same types all the way down: True is not 1, and 1 is not 1.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return bool(left == right)


@given(VALUES)
def test_every_value_comes_back_as_it_was(value: Any) -> None:
    assert same(from_json(json.loads(json.dumps(to_json(value)))), value)


@given(VALUES)
def test_the_json_holds_nothing_that_postgres_would_refuse(value: Any) -> None:
    written = json.dumps(to_json(value), allow_nan=False, ensure_ascii=False)
    assert "\\u0000" not in written.replace("\\\\", "")
    written.encode()


def test_the_headers_of_an_event_stay_as_they_are() -> None:
    headers = encode_headers(new_event(generation=7))
    assert to_json(headers) == headers


def test_what_is_odd_is_kept_readable_where_it_can_be() -> None:
    when = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    table = {
        "when": when,
        "price": Decimal("1.50"),
        "raw": b"\xff",
        "half": 0.5,
        "cut": "a\x00b",
        "more": [{b"\xfe": 1}],
    }
    assert to_json(table) == {
        "when": {"$time": "2026-03-01T12:30:00+00:00"},
        "price": {"$decimal": "1.50"},
        "raw": {"$bytes": "/w=="},
        "half": {"$float": "0.5"},
        "cut": {"$text": "YQBi"},
        "more": [{"$table": [[{"$bytes": "/g=="}, 1]]}],
    }


def test_a_type_that_no_table_holds_is_refused() -> None:
    with pytest.raises(TypeError, match="complex"):
        to_json({"a": [1j]})


def test_a_tag_that_is_not_ours_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\$when"):
        from_json({"$when": "noon"})
