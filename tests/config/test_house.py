"""The shape of the house: small folders, a short README, and every package in the contracts of import-linter."""

import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_MODULES = 15  # more side by side cannot be taken in at one look
README_LINES = 150
LINTER = configparser.ConfigParser()
LINTER.read(ROOT / ".importlinter")


def names(section: str, option: str) -> set[str]:
    """The names that an option of a contract lists; `a | b` on one line are two."""
    return {name.strip() for line in LINTER[section][option].splitlines() for name in line.split("|") if name.strip()}


def packages() -> set[str]:
    """The top-level packages of the checkout, without the tests."""
    return {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"tests"}


@pytest.mark.parametrize("top", sorted({*packages(), "tests"}))
def test_no_folder_holds_more_modules_than_one_can_take_in(top: str) -> None:
    folders = {file.parent for file in (ROOT / top).rglob("*.py")}
    sizes = {
        str(folder.relative_to(ROOT)): len([file for file in folder.glob("*.py") if file.name != "__init__.py"])
        for folder in folders
    }

    assert not {folder: size for folder, size in sizes.items() if size > MOST_MODULES}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


def test_every_package_is_in_the_layers_and_in_the_contracts_on_cycles_and_lab() -> None:
    assert names("importlinter", "root_packages") == packages()
    assert names("importlinter:contract:layers", "layers") == packages()
    assert names("importlinter:contract:acyclic", "ancestors") == packages()
    assert names("importlinter:contract:lab", "source_modules") == packages() - {"lab"}


def test_each_contract_gives_its_reason() -> None:
    lines = (ROOT / ".importlinter").read_text().splitlines()
    contracts = [number for number, line in enumerate(lines) if line.startswith("[importlinter:contract:")]

    assert contracts
    assert [lines[number] for number in contracts if not lines[number - 1].startswith("# ")] == []
