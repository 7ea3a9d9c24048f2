"""What a person says about letters is read as they mean it, or refused with the option and its value."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from ops.dead_letters_cli import Reason
from ops.letter_filter import Filter, OptionError, parse_rate, parse_time
from outbox.letter_search import Selection
from outbox.tables import LETTER_REASONS

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ORDER = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("30m", NOW - timedelta(minutes=30)),
        ("2h", NOW - timedelta(hours=2)),
        (" 3d ", NOW - timedelta(days=3)),
        ("2026-02-28T10:00Z", datetime(2026, 2, 28, 10, tzinfo=UTC)),
        ("2026-02-28T10:00:00+02:00", datetime(2026, 2, 28, 10, tzinfo=timezone(timedelta(hours=2)))),
        ("2026-02-28 10:00", datetime(2026, 2, 28, 10, tzinfo=UTC)),
        ("2026-02-28", datetime(2026, 2, 28, tzinfo=UTC)),
    ],
)
def test_a_time_is_a_moment_or_how_long_ago_it_was(said: str, meant: datetime) -> None:
    assert parse_time("--since", said, NOW) == meant


@pytest.mark.parametrize("said", ["", "yesterday", "2w", "h", "-2h", "999999d9", "2026-13-01"])
def test_what_is_no_time_is_refused_with_its_option_and_value(said: str) -> None:
    with pytest.raises(OptionError, match="--until") as refused:
        parse_time("--until", said, NOW)
    assert repr(said) in str(refused.value)


def test_an_age_before_all_calendars_is_refused() -> None:
    with pytest.raises(OptionError, match="--since '999999d'"):
        parse_time("--since", "999999d", NOW)


@pytest.mark.parametrize(("said", "meant"), [("5/s", 5.0), ("0.5/s", 0.5), ("20", 20.0)])
def test_a_rate_is_letters_a_second(said: str, meant: float) -> None:
    assert parse_rate(said) == meant


@pytest.mark.parametrize("said", ["", "0", "0/s", "-1", "5/m", "fast", "1e9", "nan"])
def test_what_is_no_rate_is_refused(said: str) -> None:
    with pytest.raises(OptionError, match=r"--rate .* is not a number of letters a second"):
        parse_rate(said)


def test_options_become_a_selection_and_a_step_is_its_queue() -> None:
    chosen = Filter(
        (7,), ("audit",), ("sync_order_to_sap",), ("order.placed",), ORDER.upper(), "f", "expired", "2h", "1h", 9
    )
    assert chosen.selection("open", NOW) == Selection(
        ids=(7,),
        queues=("audit", "sap"),
        types=("order.placed",),
        subject=ORDER,
        fingerprint="f",
        reason="expired",
        state="open",
        since=NOW - timedelta(hours=2),
        until=NOW - timedelta(hours=1),
        limit=9,
    )


def test_a_limit_alone_does_not_say_which_letters_are_meant() -> None:
    assert not Filter(limit=5).says_which
    assert Filter(since="2h").says_which


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (Filter(steps=("sap",)), r"--step 'sap' is no step; the steps are validate_order, "),
        (Filter(order="WB-1"), r"--order 'WB-1' is not an order id"),
    ],
)
def test_a_step_or_an_order_that_is_none_is_refused(chosen: Filter, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        chosen.selection("open", NOW)


def test_the_command_line_knows_every_reason() -> None:
    assert tuple(reason.value for reason in Reason) == LETTER_REASONS
