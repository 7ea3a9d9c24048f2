"""What no log line, span or kept error shows, however it got into a text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.redaction import redacted, unquoted
from runtime.work import Work, at, conceal
from tests.samples import HOSTILE_NAMES, NAMES

EVENT_ID = "0190163d-8694-739b-aea5-966c26f8ad91"
A_ROW_REFUSED = """<class 'asyncpg.exceptions.CheckViolationError'>: new row for relation "orders" violates a check
DETAIL:  Failing row contains (1, Jane
Doe, jane@example.com, 4 Elm St).
[SQL: INSERT INTO orders VALUES ($1)]"""


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("no broker at amqp://waybill:s3cret@mq:5672/", "no broker at amqp://waybill:***@mq:5672/"),
        ("postgresql://u:p@a, postgresql://u:q@b", "postgresql://u:***@a, postgresql://u:***@b"),
        ("550 <jane.doe@example.com> unknown", "550 <***> unknown"),
        ("to=jane@mail.example.co.uk, cc=bob@x.org", "to=***, cc=***"),
        ("'żaneta@łoś.pl'", "'***'"),
        (f"message <{EVENT_ID}@waybill.example> refused", f"message <{EVENT_ID}@waybill.example> refused"),
        ("waybill-local@host ready.", "waybill-local@host ready."),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_passwords_in_addresses_and_e_mail_addresses_are_hidden(said: str, shown: str) -> None:
    assert redacted(said) == shown


def test_a_row_that_postgres_quotes_is_hidden_and_what_comes_after_it_is_not() -> None:
    shown = redacted(f"{A_ROW_REFUSED}\n\nThe above exception was the direct cause:\n\n{A_ROW_REFUSED}")
    assert "Doe" not in shown
    assert "Elm" not in shown
    assert shown.count("DETAIL:  ***\n[SQL: INSERT") == 2


@pytest.mark.parametrize("name", [*NAMES, *HOSTILE_NAMES])
def test_what_the_order_at_hand_says_of_its_customer_is_hidden_in_each_form_that_python_gives_it(name: str) -> None:
    with at(Work("sync_order_to_sap")):
        conceal(name, "4 Elm St")
        for form in (name, repr(name), ascii(name), name.upper() if name.upper().lower() == name.lower() else name):
            assert redacted(f"SAP says: {form} is blocked") != f"SAP says: {form} is blocked"
            assert name not in redacted(f"SAP says: {form} is blocked, of 4 Elm St")
            assert "Elm" not in redacted(f"SAP says: {form} is blocked, of 4 Elm St")


def test_a_word_that_only_begins_like_a_name_is_shown() -> None:
    with at(Work("x")):
        conceal("Ann", "")
        assert redacted("Ann: announced, Annex, ann") == "***: announced, Annex, ***"


def test_nobody_elses_customer_is_hidden() -> None:
    with at(Work("x")):
        conceal("Jane")
    with at(Work("y")):
        assert redacted("Jane") == "Jane"


@given(st.text(), st.text())
def test_what_was_quoted_of_a_stranger_is_left_out(value: str, other: str) -> None:
    told = unquoted(f"type {value!r} is not {other!r:.5}")
    assert told.startswith("type '…' is not ")
    assert json.dumps(value)[1:-1] not in told or value in "type '…' is not '…'"
