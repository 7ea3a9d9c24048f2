"""The prose lint refuses each pattern that it lists, and nothing that is plain English."""

import pytest

from lab.checks.prose import findings_in, passages_of_page, passages_of_python, room_of


def refused(text: str) -> list[str]:
    return [finding.words for finding in findings_in("page.md", passages_of_page(text))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Whoever reads it waits.", "Whoever"),
        ("A queue that nobody consumes.", "nobody"),
        ("Postgres is told the time.", "is told"),
        ("Of what else a task raised only the kind is logged.", "Of what"),
        ("It is old. Whose rows they are is logged.", "Whose"),
        ("A message bears an id.", "bears"),
        ("The relay looks for the queue.", "looks"),
        ("A step that gave up is over.", "gave up"),
        ("The first try fails.", "first try"),
        ("The collector stores the letter.", "letter"),
        ("The relay's reign ends.", "reign"),
        ("A relay\nat\nwork publishes.", "at work"),
    ],
)
def test_a_refused_phrase_is_found(text: str, words: str) -> None:
    assert refused(text) == [words]


@pytest.mark.parametrize(
    "text",
    [
        "The collector stores the dead\nletter and sends an e-mail.",
        "The worker looks up the document and tries again.",
        "Each worker tries to connect.",
        "The name is `whoever`, and the file `letters.txt`.",
        "```\nnobody\n```",
    ],
)
def test_plain_english_passes(text: str) -> None:
    assert refused(text) == []


def test_a_finding_names_its_line_and_what_to_write() -> None:
    (finding,) = findings_in("a.md", passages_of_page("One.\n```\ncode\n```\nTwo: a message\nbears an id."))
    assert str(finding) == 'a.md:6: "bears": carries, has, holds'


SOURCE = '"""Nobody here."""\n\n# Whoever\n# reads, bears.\nname = "somebody is"\nkey = "somebody"\n'


@pytest.mark.parametrize(("product", "lines"), [(True, [1, 3, 4, 5]), (False, [1, 3, 4])])
def test_docstrings_and_comments_are_read_and_of_product_code_its_sentences(product: bool, lines: list[int]) -> None:
    found = findings_in("a.py", passages_of_python(SOURCE, product=product))
    assert sorted(finding.line for finding in found) == lines


def test_a_test_belongs_to_the_room_of_the_code_that_it_tests() -> None:
    assert room_of("relay/session.py") == "relay"
    assert room_of("tests/unit/relay/test_session.py") == "relay"
    assert room_of("tests/config/test_alerts.py") == room_of("tests/support/servers/broker.py") == "tests"
    assert room_of("README.md") == room_of("docs/relay.md") == "docs"
