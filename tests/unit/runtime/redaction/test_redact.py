"""What no log line, span or kept error shows, however it got into a text."""

import html
import json
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from time import process_time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.log_context import LogContext, bind, redact
from runtime.redaction.redact import excerpt, redacted, unquoted, without_literals
from tests.support.builders.orders import HOSTILE_NAMES, NAMES
from tests.support.paths import ROOT

EVENT_ID = "0190163d-8694-739b-aea5-966c26f8ad91"
A_ROW_REFUSED = """<class 'asyncpg.exceptions.CheckViolationError'>: new row for relation "orders" violates a check
DETAIL:  Failing row contains (1, Jane
Doe, jane@example.com, 4 Elm St).
[SQL: INSERT INTO orders VALUES ($1)]"""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no broker at amqp://waybill:s3cret@mq:5672/", "no broker at amqp://waybill:***@mq:5672/"),
        ("postgresql://u:p@a, postgresql://u:q@b", "postgresql://u:***@a, postgresql://u:***@b"),
        ("550 <jane.doe@example.com> unknown", "550 <***> unknown"),
        ("to=jane@mail.example.co.uk, cc=bob@x.org", "to=***, cc=***"),
        ("'żaneta@łoś.pl'", "'***'"),
        (f"550 <{EVENT_ID}@customers.example> unknown", "550 <***> unknown"),
        ("amqp://u:p/w@mq, amqp://u:p@ss@mq.example.com/", "amqp://u:***@mq, amqp://u:***@mq.example.com/"),
        ("o'brien@example.com jane@localhost", "*** ***"),
        ("bounce+jane=doe@example.com jane/doe@example.com", "*** ***"),
        ('"jane doe"@example.com jane@[10.0.0.1]', "*** ***"),
        ("jane.doe%40example.com a@b@example.com", "*** ***"),
        ("/orders/jane@example.com", "/orders/***"),
        ("postgresql://h/db?password=s3cret&user=x", "postgresql://h/db?password=***&user=x"),
        ("password='s3cret' secret=x, token=y", "password='***' secret=***, token=***"),
        ("{'api_key': 's3cret', 'n': 1}", "{'api_key': '***', 'n': 1}"),
        ("Authorization: Bearer s3cret\nHost: x", "Authorization: ***\nHost: x"),
        ("Authorization=Basic s3cret", "Authorization=***"),
        ("password authentication failed for user w", "password authentication failed for user w"),
        ("waybill-local@host ready.", "waybill-local@host ready."),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_passwords_in_addresses_and_e_mail_addresses_are_hidden(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_a_row_that_postgres_quotes_is_hidden_and_what_comes_after_it_is_not() -> None:
    shown = redacted(f"{A_ROW_REFUSED}\n\nThe above exception was the direct cause:\n\n{A_ROW_REFUSED}")
    assert "Doe" not in shown
    assert "Elm" not in shown
    assert shown.count("DETAIL:  ***\n[SQL: INSERT") == 2


@pytest.mark.parametrize("name", [*NAMES, *HOSTILE_NAMES])
def test_the_customer_of_the_order_at_hand_is_hidden_in_each_form_that_python_gives_it(name: str) -> None:
    with bind(LogContext("sync_order_to_sap")):
        redact(name, "4 Elm St")
        for form in (name, repr(name), ascii(name), name.upper() if name.upper().lower() == name.lower() else name):
            assert redacted(f"SAP says: {form} is blocked") != f"SAP says: {form} is blocked"
            assert name not in redacted(f"SAP says: {form} is blocked, of 4 Elm St")
            assert "Elm" not in redacted(f"SAP says: {form} is blocked, of 4 Elm St")


SPELT: dict[str, Callable[[str], str]] = {
    "repr": repr,
    "ascii": ascii,
    "repr of ascii": lambda name: repr(ascii(name)),
    "json": json.dumps,
    "repr of json": lambda name: repr(json.dumps({"name": name})),
    "bytes": lambda name: repr(name.encode()),
    "sql": lambda name: "'" + name.replace("'", "''") + "'",
    "html": html.escape,
    "url": lambda name: "x?name=" + quote(name),
    "NFC": lambda name: unicodedata.normalize("NFC", name),
    "NFD": lambda name: unicodedata.normalize("NFD", name),
    "ascii of NFD": lambda name: ascii(unicodedata.normalize("NFD", name)),
    "numbers": lambda name: html.escape(name).encode("ascii", "xmlcharrefreplace").decode(),
    "url of url": lambda name: quote(quote(name)),
    "upper case": str.upper,
    "a line of its own": lambda name: repr(f"\n{name}\n"),
}


# Characters that casefold() replaces, and accents that are characters of their own.
UNEVEN_NAMES = ("Jürgen Weiß", "Hauptstraße 5", "Zoë Großmann", "Zoe\u0301", "Fiona ﬁona", "İpek Öß", "Ł\u0301ó ß")


@pytest.mark.parametrize("spelling", SPELT)
@pytest.mark.parametrize("name", ["Zoë O'Müller", *NAMES, *HOSTILE_NAMES, *UNEVEN_NAMES])
def test_a_name_is_hidden_however_it_is_spelt(name: str, spelling: str) -> None:
    text = f"of {SPELT[spelling](name)}, away"
    with bind(LogContext("sync_order_to_sap")):
        redact(name)
        shown = redacted(text)
    assert "***" in shown
    longest = max(re.findall(r"\w+", name), key=len)
    assert longest.casefold() not in shown.casefold()


# Signs that quote, escape and encode, in runs and mixed, and pieces that look like them.
NASTY = ("\\", "\\" * 7, '"', "'", "''", '\\"', '\\\\"', "%", "%25", "%25%25", "%20", "&", " ", " " * 9, "+", "\\n")
NASTY_AND_PLAIN = (*NASTY, "ß", "ë", "e\u0301", "ﬁ", "Ж", "5", "x", "\\xeb", "\\u00df")
_parts = st.lists(st.sampled_from(NASTY_AND_PLAIN), max_size=12).map("".join)


@pytest.mark.parametrize("spelling", SPELT)
@given(_parts, _parts)
def test_so_is_the_nastiest_one(spelling: str, before: str, after: str) -> None:
    with bind(LogContext("x")):
        redact(f"{before}Qwertz{after}")
        shown = redacted(f"of {SPELT[spelling](f'{before}Qwertz{after}')}, away")
    assert "***" in shown
    assert "qwertz" not in shown.casefold()


_REDACT_ALL = """
import json, sys
from runtime.redaction.redact import redacted
from runtime.log_context import LogContext, bind, redact
for name, text in json.load(sys.stdin):
    with bind(LogContext("x")):
        redact(name)
        print(len(redacted(text)))
"""


def test_no_name_of_two_hundred_signs_makes_a_text_take_more_than_its_length() -> None:
    """It takes a second. A backtracking pattern would take more than the age of the universe."""
    mixed = [one + other for one in NASTY for other in NASTY[::3]]
    names = [(piece * 200)[:198] + "to" for piece in (*NASTY, *mixed)]
    cases = [(name, f"to {near * 3000} to"[:20_000]) for name in names for near in (name[:12], "\\", name[0], " %20+")]
    ended = subprocess.run(
        [sys.executable, "-c", _REDACT_ALL],
        cwd=ROOT,
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert len(ended.stdout.split()) == len(cases) > 100


def test_a_word_that_only_begins_like_a_name_is_shown() -> None:
    with bind(LogContext("x")):
        redact("Anna", "")
        assert redacted("Anna: announced, Annabel, anna") == "***: announced, Annabel, ***"


def test_a_customer_called_like_our_own_words_hides_only_what_is_quoted() -> None:
    text = "SapUnavailable: no answer from SAP within 1 s: a call"
    with bind(LogContext("x")):
        redact("SAP", "1", "a")
        assert redacted(text) == text
        assert redacted("partner 'SAP', street \"1\", {'n': 'a'}") == "partner '***', street \"***\", {'n': '***'}"


def test_the_message_id_of_the_e_mail_at_hand_is_shown() -> None:
    text = f"message <{EVENT_ID}@waybill.example> refused"
    with bind(LogContext("x", event_id=EVENT_ID)):
        assert redacted(text) == text


def test_only_the_customer_at_hand_is_hidden() -> None:
    with bind(LogContext("x")):
        redact("Jane")
    with bind(LogContext("y")):
        assert redacted("Jane") == "Jane"


def test_an_excerpt_is_cut_after_what_must_not_be_shown_is_hidden() -> None:
    text = "x" * 20 + " jane.doe@mail.example.com"
    assert excerpt(text, 32) == "x" * 20 + " ***"


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("UPDATE orders SET street = '4 Elm St' WHERE id = $1", "UPDATE orders SET street = '…' WHERE id = $1"),
        ("SELECT 'O''Brien', E'O\\'Brien', 7", "SELECT '…', '…', 7"),
        ("SELECT $$Jane$$, $x$Jane $$ Doe$x$, $1, $2", "SELECT '…', '…', $1, $2"),
        ('SELECT "it\'s" FROM "Orders" WHERE name = \'Jane D', 'SELECT "it\'s" FROM "Orders" WHERE name = \'…\''),
    ],
)
def test_a_statement_is_shown_without_the_values_that_were_written_into_it(statement: str, shown: str) -> None:
    assert without_literals(statement) == shown


@pytest.mark.parametrize(
    "piece", ["a@", "a", "://a:", "://:", f"{EVENT_ID}@", "password", "x@b-", "a%40", "\\", "'", "$a$"]
)
def test_a_long_text_takes_a_time_that_grows_with_its_length_alone(piece: str) -> None:
    def seconds(length: int) -> float:
        text = (piece * length)[:length]
        started = process_time()
        redacted(text), unquoted(text), without_literals(text)
        return process_time() - started

    with bind(LogContext("x")):
        redact("\\Zoë", "Zoë O'Müller")
        assert seconds(80_000) < 1.0  # some tens of milliseconds; quadratic time would be minutes


@given(st.text(alphabet=st.characters(exclude_characters="'\"\\"), min_size=12), st.text())
def test_what_was_quoted_of_a_stranger_is_left_out(value: str, other: str) -> None:
    text = unquoted(f"type {value!r} is not {other!r:.5}")
    assert text.startswith("type '…' is not ")
    assert value not in text
    assert repr(value)[1:-1] not in text
