"""The tests, files, folders, modules and classes that a page names exist."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from tests.support.paths import ROOT

DEFINED = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)
NAMED_TEST = re.compile(r"(test_\w+)(\.py)?")
INLINE = re.compile(r"`([^`\n]+)`")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# The machine's own paths begin with / or .local; NNNN and POOL stand for a name of the reader's choice.
PATH = re.compile(r"(?!\.local|/)[\w./-]+/[\w./-]*|[\w-]+\.(?:py|md|yml|toml|sql)")
PLACEHOLDER = re.compile(r"[A-Z]{4}")
CREATED_BY_THE_PAGE = re.compile(r"<!-- file: (\S+) -->")
CLASS = re.compile(r"((?:[A-Z][a-z0-9]+){2,})(?:\(.*\)|\.\w+)?")
MODULE = re.compile(r"(api|consumers|lab|ops|orders|outbox|relay|runtime)(?:\.[a-z_]+)+")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


TRACKED = tracked()
PLACES = {*TRACKED, *(str(folder) for file in TRACKED for folder in PurePosixPath(file).parents)}
SOURCES = "\n".join((ROOT / file).read_text() for file in TRACKED if file.endswith((".py", ".yml")))
TABLES = "\n".join((ROOT / room / "tables.py").read_text() for room in ("orders", "outbox"))


def inline_code(page: Path) -> Iterator[str]:
    """Each piece of inline code of a page; the blocks between fences are examples."""
    yield from INLINE.findall(FENCED.sub("", page.read_text()))


def is_there(path: str) -> bool:
    """Whether a file or folder of the repository has this path, or ends with it."""
    wanted = path.rstrip("/")
    return any(place == wanted or place.endswith(f"/{wanted}") for place in PLACES)


def is_module_or_table(name: str) -> bool:
    """Whether a dotted name begins with a module of ours, or is a table or column as SQL writes it."""
    parts = name.split(".")
    modules = {"/".join(parts[:length]) for length in range(2, len(parts) + 1)}
    return any(module in PLACES or f"{module}.py" in PLACES for module in modules) or f'"{parts[1]}"' in TABLES


def test_every_test_that_a_page_names_is_there() -> None:
    files = [*(ROOT / "tests").rglob("test_*.py")]
    there = {(name, "") for file in files for name in DEFINED.findall(file.read_text())}
    there |= {(file.stem, ".py") for file in files}
    codes = [NAMED_TEST.fullmatch(code) for page in PAGES for code in inline_code(page)]
    named = {(found[1], found[2] or "") for found in codes if found}
    assert len(named) > 20
    assert named <= there


@each_page
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    created = set(CREATED_BY_THE_PAGE.findall(page.read_text()))
    named = {code for code in inline_code(page) if PATH.fullmatch(code) and not PLACEHOLDER.search(code)}
    assert {path for path in named - created if not is_there(path)} == set()


@each_page
def test_every_class_and_alert_that_a_page_names_is_there(page: Path) -> None:
    named = {found[1] for found in map(CLASS.fullmatch, inline_code(page)) if found}
    assert {name for name in named if not re.search(rf"\b{name}\b", SOURCES)} == set()


@each_page
def test_every_module_that_a_page_names_is_there(page: Path) -> None:
    named = {code for code in inline_code(page) if MODULE.fullmatch(code) and not code.endswith(".csv")}
    assert {name for name in named if not is_module_or_table(name)} == set()
