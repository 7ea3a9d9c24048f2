"""Every package is in the contracts of import-linter, each contract gives its reason, and pure modules are pure."""

import ast
import configparser
import re

from tests.support.paths import ROOT

LINTER = configparser.ConfigParser()
LINTER.read(ROOT / ".importlinter")
# The libraries through which a module reaches the network, a disk, a database or another process.
NETWORK = frozenset(
    {"aiosmtplib", "amqp", "celery", "fastapi", "httpx", "kombu", "pika", "prometheus_client", "socket"}
)
DISK = frozenset({"alembic", "asyncpg", "os", "sqlalchemy"})
PROCESSES = frozenset({"asyncio", "billiard", "psutil", "starlette", "subprocess", "uvicorn", "uvloop"})
IO = NETWORK | DISK | PROCESSES


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


def test_a_module_that_calls_itself_pure_imports_no_library_of_io() -> None:
    files = [file for package in packages() for file in (ROOT / package).rglob("*.py") if "Pure" in file.read_text()]
    trees = {file: ast.parse(file.read_text()) for file in files}
    pure = {file: tree for file, tree in trees.items() if re.search(r"\bPure\b", ast.get_docstring(tree) or "")}

    assert len(pure) > 40
    assert {f"{file.relative_to(ROOT)}: {name}" for file, tree in pure.items() for name in imported(tree) & IO} == set()


def imported(tree: ast.Module) -> set[str]:
    """The top-level packages that a module imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found
