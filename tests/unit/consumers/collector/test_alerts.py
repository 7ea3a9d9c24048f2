"""The text of an alert has the cause and no customer's data."""

import pytest

from consumers.collector.alerts import LONGEST_ERROR, without_persons


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("550 <anna.lund@example.com>: no such user", "550 …: no such user"),
        ("550 anna.lund@example.com unknown", "550 … unknown"),
        ("subject 'Frédérique Citeaux' is not a text", "subject … is not a text"),
        ('SAP: {"message": "Anna Lund is blocked"} 400', "SAP: … 400"),
        ("two\nlines   of it", "two lines of it"),
        ("order 0190163d does not exist", "order 0190163d does not exist"),
    ],
)
def test_an_error_is_shown_without_its_quotations_and_without_addresses(error: str, shown: str) -> None:
    assert without_persons(error) == shown


def test_a_long_error_is_cut() -> None:
    assert without_persons("x" * 5000) == "x" * LONGEST_ERROR + "…"
