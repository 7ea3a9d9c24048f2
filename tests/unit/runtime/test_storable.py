"""Text of others is stored without what Postgres refuses, and not without end."""

import pytest

from runtime.storable import LONGEST_TEXT, storable


@pytest.mark.parametrize(
    ("text", "stored"),
    [("plain é 漢", "plain é 漢"), ("a\x00b", "a\\x00b"), ("a\ud800b", "a\\ud800b"), ("", "")],
)
def test_nul_and_lone_surrogates_are_escaped_and_the_rest_stays(text: str, stored: str) -> None:
    assert storable(text) == stored


def test_a_text_over_the_limit_keeps_its_two_ends() -> None:
    kept = storable("a" * LONGEST_TEXT + "b" * LONGEST_TEXT)
    assert kept == "a" * (LONGEST_TEXT // 2) + " … " + "b" * (LONGEST_TEXT // 2)
    assert storable("a" * LONGEST_TEXT) == "a" * LONGEST_TEXT
