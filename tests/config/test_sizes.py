"""A folder with too many modules and a README that is too long are reported; the repository has neither."""

from lab.checks.sizes import crowded_folders, excesses_of, long_readme
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


def test_the_repository_has_no_crowded_folder_and_a_short_readme() -> None:
    assert excesses_of(ROOT) == []
