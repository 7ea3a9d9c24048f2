"""A time is an age or an ISO 8601 time; everything else is refused with the option and its value."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from ops.errors import OptionError
from ops.time_arguments import parse_time

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("30m", NOW - timedelta(minutes=30)),
        ("2h", NOW - timedelta(hours=2)),
        ("1.5h", NOW - timedelta(minutes=90)),
        ("0s", NOW),
        (" 3d ", NOW - timedelta(days=3)),
        ("2026-02-28T10:00Z", datetime(2026, 2, 28, 10, tzinfo=UTC)),
        ("2026-02-28T10:00:00+02:00", datetime(2026, 2, 28, 10, tzinfo=timezone(timedelta(hours=2)))),
        ("2026-02-28 10:00", datetime(2026, 2, 28, 10, tzinfo=UTC)),
        ("2026-02-28", datetime(2026, 2, 28, tzinfo=UTC)),
    ],
)
def test_a_time_is_an_age_or_a_time_in_iso_8601(text: str, meant: datetime) -> None:
    assert parse_time("--since", text, NOW) == meant


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2w", "h", "-2h", "999999d9", "3", "3 days", "9" * 20 + "d", "2026-13-01"]
)
def test_an_unusable_time_is_refused_with_its_option_and_value(text: str) -> None:
    with pytest.raises(OptionError, match="--until") as refused:
        parse_time("--until", text, NOW)
    assert repr(text) in str(refused.value)


def test_an_age_before_the_first_year_is_refused() -> None:
    with pytest.raises(OptionError, match="--since '999999d'"):
        parse_time("--since", "999999d", NOW)
