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
# Each with its reason.
EXCEPTIONS = {
    # Events x orders x audit log: in Python, every event of the window would have to be read to find the few missing.
    ("orders/audit/reconciliation.py", "outbox.events"),
    # Readiness asks whether the tables that a placement writes exist, with one statement that reads nothing.
    ("api/routes/health.py", "outbox.events"),
    # The doctor examines a database that may be broken or of another version: it relies on no code of ours.
    ("ops/doctor/checks.py", "outbox.destinations"),
    ("ops/doctor/relay.py", "outbox.leases"),
    ("ops/doctor/watch.py", "outbox.dead_letters"),
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
    assert _foreign(room) - EXCEPTIONS == set()


def test_each_exception_is_still_one() -> None:
    assert {found for room in OWN for found in _foreign(room)} >= EXCEPTIONS


def test_the_statements_are_found() -> None:
    assert named(ROOT / "orders/repository.py") >= {"orders", "order_lines", "order_steps", "order_attempts"}
    assert "outbox.deliveries" in named(ROOT / "outbox/inbox.py")
