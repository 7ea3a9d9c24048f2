"""A filter becomes a selection, or is refused with the option and its value."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta

import pytest

from ops.cli.filter_options import OPTIONS, REASONS
from ops.dead_letters.filter import Filter, parse_rate
from ops.errors import OptionError
from outbox.dead_letter_reason import DeadLetterReason
from outbox.dead_letters.queries import Selection

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ORDER = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.mark.parametrize(("text", "meant"), [("5/s", 5.0), ("0.5/s", 0.5), ("20", 20.0)])
def test_a_rate_is_dead_letters_a_second(text: str, meant: float) -> None:
    assert parse_rate(text) == meant


@pytest.mark.parametrize("text", ["", "0", "0/s", "-1", "5/m", "fast", "1e9", "nan"])
def test_an_unusable_rate_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"--rate .* is not a number of dead letters a second"):
        parse_rate(text)


def test_options_become_a_selection_and_a_step_is_its_queue() -> None:
    chosen = Filter((7,), ("audit",), ("sync_order_to_sap",), ("order.placed",), ORDER, "f", "expired", "2h", "1h", 9)
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


def test_a_limit_alone_does_not_narrow_a_filter() -> None:
    assert not Filter(limit=5).narrows
    assert Filter(since="2h").narrows


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        (Filter(steps=("sap",)), r"--step 'sap' is not a step; the steps are validate_order, "),
    ],
)
def test_an_unknown_step_is_refused(chosen: Filter, text: str) -> None:
    with pytest.raises(OptionError, match=text):
        chosen.selection("open", NOW)


def test_the_command_line_knows_every_reason() -> None:
    assert tuple(DeadLetterReason) == REASONS


def test_each_field_of_the_filter_has_its_option() -> None:
    assert list(OPTIONS) == [field.name for field in fields(Filter)]
