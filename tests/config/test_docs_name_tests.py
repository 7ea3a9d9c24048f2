"""A page that says which test holds an invariant names one that is there."""

import re

from tests.support.paths import ROOT

DEFINED = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)
NAMED = re.compile(r"`(test_\w+)(\.py)?`")


def test_every_test_that_a_page_names_is_there() -> None:
    files = [*(ROOT / "tests").rglob("test_*.py")]
    functions = {
        name for file in files for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    there = {(name, "") for name in functions} | {(file.stem, ".py") for file in files}
    named = {found for page in (ROOT / "docs").rglob("*.md") for found in NAMED.findall(page.read_text())}
    assert len(named) > 20
    assert named <= there
