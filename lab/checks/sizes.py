"""Sizes that keep the repository readable: the README's lines and the modules of one folder.

`python -m lab.checks.sizes` prints each excess and fails on any; `make check` runs it.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

README_LINES = 150
MODULES_IN_A_FOLDER = 15  # beside __init__.py, which holds the folder's docstring


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


def excesses_of(root: Path) -> list[str]:
    """All that is too large in a checkout: each tracked folder, and its README."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [*crowded_folders(listed), *long_readme((root / "README.md").read_text())]


def main() -> int:
    """Print each excess of this checkout; 1 if there is any."""
    excesses = excesses_of(Path())
    sys.stdout.write("".join(f"{excess}\n" for excess in excesses))
    return 1 if excesses else 0


if __name__ == "__main__":
    raise SystemExit(main())
