import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.sandbox.sap.odata import ODataError, quoted
from lab.sandbox.sap.odata_filter import Comparison, parse_filter

NAMES = frozenset({"Reference", "Party"})


def test_comparisons_are_joined_by_and() -> None:
    assert parse_filter("Reference eq 'R-1' and Party ne 'x'", NAMES) == (
        Comparison("Reference", True, "R-1"),
        Comparison("Party", False, "x"),
    )


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_quoting(first: str, second: str) -> None:
    parsed = parse_filter(f"Reference eq {quoted(first)} and Party eq {quoted(second)}", NAMES)
    assert [comparison.value for comparison in parsed] == [first, second]


@pytest.mark.parametrize(
    ("text", "status", "why"),
    [
        ("", 400, "it is empty"),
        ("Reference", 501, "nothing where an operator belongs"),
        ("Reference eq", 400, "needs a value in single quotes"),
        ("Reference eq 5", 400, "needs a value in single quotes"),
        ("Reference eq 'it's'", 400, "unexpected 's'"),
        ("Reference eq 'a' and", 400, "unexpected 'and'"),
        ("Reference eq 'a' Party eq 'b'", 400, "unexpected 'Party'"),
        ("'a' eq Reference", 400, "a property name is missing"),
        ("Total eq 'a'", 400, "Property Total is not filterable"),
        ("Reference gt 'a'", 501, "'gt' is not supported"),
        ("Reference eq 'a' or Party eq 'b'", 501, "'or' is not supported"),
        ("(Reference eq 'a')", 501, "is not supported"),
        ("not Reference eq 'a'", 501, "'not' is not supported"),
    ],
)
def test_grammar_beyond_comparisons_is_refused(text: str, status: int, why: str) -> None:
    with pytest.raises(ODataError) as caught:
        parse_filter(text, NAMES)
    assert caught.value.status == status
    assert why in caught.value.details[0].message


def test_a_comparison_holds_or_does_not() -> None:
    properties = {"Reference": "R-1"}
    assert Comparison("Reference", True, "R-1").holds(properties)
    assert not Comparison("Reference", True, "R-2").holds(properties)
    assert Comparison("Party", False, "x").holds(properties)
