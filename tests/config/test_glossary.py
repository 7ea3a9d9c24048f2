"""docs/glossary.md lists words that are used, and names that the code does not use."""

import ast
import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "glossary.md").read_text()
SHIPPED = ("api", "consumers", "dashboards", "migrations", "ops", "orders", "outbox", "relay", "runtime")
WORDS, REFUSED = PAGE.split("## Names that the code does not use")
ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def files(*folders: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


def defined() -> dict[str, str]:
    rows = dict(ROW.findall(WORDS))
    return {word: meaning for word, meaning in rows.items() if word not in {"word", "---"}}


def refused_names() -> set[tuple[str, ...]]:
    return {tuple(name.split("_")) for left, _ in ROW.findall(REFUSED) for name in re.findall(r"`(\w+)`", left)}


def names(tree: ast.Module) -> Iterator[str]:
    """The names that a module gives: of classes, functions, parameters, variables and attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def words_of(name: str) -> list[str]:
    """The words of a name in either of Python's two styles."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def is_refused(name: str) -> bool:
    words = words_of(name)
    if any(word in {"letter", "letters"} and before != "dead" for before, word in pairwise(["", *words])):
        return True
    refused = refused_names() - {("letter",)}
    return any(tuple(words[i : i + len(one)]) == one for one in refused for i in range(len(words)))


def test_each_word_is_explained_in_one_sentence() -> None:
    assert len(defined()) > 50
    for word, meaning in defined().items():
        assert meaning.endswith("."), word
        assert not re.search(r"\. [A-Z]", meaning), f"{word}: one sentence"


def test_each_word_is_used_in_code_or_on_another_page() -> None:
    pages = [file for file in files("docs") if file.suffix == ".md" and file.name != "glossary.md"]
    code = [file for file in files(*SHIPPED) if file.suffix == ".py"]
    text = re.sub(r"[\s_]+", " ", " ".join(file.read_text() for file in (*pages, *code))).lower()
    found_as = {word: re.escape(word).replace(r"\ ", r"\w* ") for word in defined()}
    assert {word for word, pattern in found_as.items() if not re.search(rf"\b{pattern}", text)} == set()


@pytest.mark.parametrize("room", [*SHIPPED, "lab", "tests"])
def test_no_name_is_one_that_the_glossary_refuses(room: str) -> None:
    found = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in files(room)
        if file.suffix == ".py"
        for name in (file.stem, *names(ast.parse(file.read_text())))
        if is_refused(name) and not (room in {"lab", "tests"} and "trial" in words_of(name))
    }
    assert found == set()


@pytest.mark.parametrize("name", ["tries", "MAX_TRIES", "open_letters", "step_gave_up", "_told", "GaveUpError"])
def test_a_refused_name_is_known_in_either_style(name: str) -> None:
    assert is_refused(name)


@pytest.mark.parametrize("name", ["dead_letters", "DeadLetterQueue", "retries", "household", "begins", "in_flight"])
def test_other_names_are_not_refused(name: str) -> None:
    assert not is_refused(name)
