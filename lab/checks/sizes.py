"""Sizes that keep the repository readable: of the README, of folders, modules and functions.

`python -m lab.checks.sizes` prints each excess and fails on any; `make check` runs it.
"""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

README_LINES = 150
MODULES_IN_A_FOLDER = 15  # beside __init__.py, which holds the folder's docstring
# A module or a function beyond these usually holds two things. Tests are lists, and a migration is one script.
MODULE_LINES = 300
FUNCTION_LINES = 50
NOT_MEASURED = ("tests/", "migrations/versions/")


def crowded_folders(paths: Iterable[str]) -> Iterator[str]:
    """Folders with more modules side by side than a reader can take in; those of the tests as well."""
    modules = Counter(
        str(path.parent) for path in map(PurePosixPath, paths) if path.suffix == ".py" and path.name != "__init__.py"
    )
    for folder, count in sorted(modules.items()):
        if count > MODULES_IN_A_FOLDER:
            yield f"{folder}: {count} modules side by side, at most {MODULES_IN_A_FOLDER}: split it by trade"


def long_readme(text: str) -> Iterator[str]:
    """The README, if it is longer than a newcomer reads."""
    lines = len(text.splitlines())
    if lines > README_LINES:
        yield f"README.md: {lines} lines, at most {README_LINES}: move a part to docs/"


def long_code(path: str, text: str) -> Iterator[str]:
    """A module that is too long, and each of its functions that is."""
    if path.startswith(NOT_MEASURED):
        return
    lines = len(text.splitlines())
    if lines > MODULE_LINES:
        yield f"{path}: {lines} lines, at most {MODULE_LINES}: split it by what it does"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {lines} lines, at most {FUNCTION_LINES}"


def excesses_of(root: Path) -> list[str]:
    """All that is too large in a checkout: its README, and each tracked folder, module and function."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    sources = [path for path in listed if path.endswith(".py") and (root / path).is_file()]
    code = (excess for path in sources for excess in long_code(path, (root / path).read_text()))
    return [*crowded_folders(listed), *long_readme((root / "README.md").read_text()), *code]


def main() -> int:
    """Print each excess of this checkout; 1 if there is any."""
    excesses = excesses_of(Path())
    sys.stdout.write("".join(f"{excess}\n" for excess in excesses))
    return 1 if excesses else 0


if __name__ == "__main__":
    raise SystemExit(main())
