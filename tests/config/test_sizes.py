"""Crowded folders, and a README, modules and functions that are too long, are reported; the repository has none."""

from lab.checks.sizes import crowded_folders, excesses_of, long_code, long_readme
from tests.support.paths import ROOT


def test_a_folder_of_sixteen_modules_is_named_and_one_of_fifteen_is_not() -> None:
    fifteen = [f"relay/m{number}.py" for number in range(15)]
    assert list(crowded_folders([*fifteen, "relay/__init__.py", "relay/health/m.py"])) == []
    assert list(crowded_folders([*fifteen, "relay/one_more.py"])) == [
        "relay: 16 modules side by side, at most 15: split it by trade"
    ]


def test_a_readme_of_more_than_150_lines_is_named() -> None:
    assert list(long_readme("line\n" * 150)) == []
    assert list(long_readme("line\n" * 151)) == ["README.md: 151 lines, at most 150: move a part to docs/"]


def test_a_module_of_more_than_300_lines_and_a_function_of_more_than_50_are_named() -> None:
    function = "def f():\n" + "    x = 1\n" * 49
    assert list(long_code("relay/m.py", function + "\n" * 250)) == []
    assert list(long_code("relay/m.py", "async " + function + "    x = 1\n" + "\n" * 250)) == [
        "relay/m.py: 301 lines, at most 300: split it by what it does",
        "relay/m.py:1: f has 51 lines, at most 50",
    ]
    assert list(long_code("tests/unit/test_m.py", "\n" * 301)) == []


def test_the_repository_has_none_of_these() -> None:
    assert excesses_of(ROOT) == []
