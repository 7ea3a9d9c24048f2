"""A room's SQL touches its own tables only: import-linter does not see what a statement names."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orders import tables as order_tables
from outbox import tables as outbox_tables

ROOT = Path(__file__).parent.parent.parent
ORDERS = {table.name for table in order_tables.metadata.tables.values()}
OUTBOX = {f"outbox.{table.name}" for table in outbox_tables.metadata.tables.values()}
# lab is not listed: its judges read every table, because they must not trust the code that they judge.
OWN: dict[str, set[str]] = {
    "orders": ORDERS,
    "outbox": OUTBOX,
    "relay": OUTBOX,  # the relay's own state (leases, pages) is in the schema that it carries messages from
    "consumers": set(),
    "api": set(),
    "ops": set(),
    "runtime": set(),
}
_NAMED = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE|TABLE)\s+(?:ONLY\s+)?((?:outbox\.)?[a-z_]+)")


def _strings(path: Path) -> Iterator[str]:
    """The string constants of a module, parts of f-strings included, but not its docstrings."""
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def named(path: Path) -> set[str]:
    """The tables, of orders and of the outbox, that a module's SQL names."""
    return {name for string in _strings(path) for name in _NAMED.findall(string)} & (ORDERS | OUTBOX)


def _foreign(room: str) -> set[tuple[str, str]]:
    modules = sorted((ROOT / room).rglob("*.py"))
    assert modules
    return {(str(path.relative_to(ROOT)), table) for path in modules for table in named(path) - OWN[room]}


@pytest.mark.parametrize("room", OWN)
def test_a_rooms_sql_touches_its_own_tables_only(room: str) -> None:
    assert _foreign(room) == set()


def test_the_statements_are_found() -> None:
    assert named(ROOT / "orders/repository.py") >= {"orders", "order_lines"}
    assert named(ROOT / "orders/steps.py") >= {"order_steps", "order_attempts"}
    assert "outbox.deliveries" in named(ROOT / "outbox/inbox.py")
