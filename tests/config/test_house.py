"""Every package is in the contracts of import-linter, and each contract gives its reason."""

import configparser

from tests.support.paths import ROOT

LINTER = configparser.ConfigParser()
LINTER.read(ROOT / ".importlinter")


def names(section: str, option: str) -> set[str]:
    """The names that an option of a contract lists; `a | b` on one line are two."""
    return {name.strip() for line in LINTER[section][option].splitlines() for name in line.split("|") if name.strip()}


def packages() -> set[str]:
    """The top-level packages of the checkout, without the tests."""
    return {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"tests"}


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
