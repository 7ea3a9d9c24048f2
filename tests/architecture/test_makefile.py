"""The Makefile tells what it can do, and what it can do exists."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
MAKEFILE = (ROOT / "Makefile").read_text()


def test_help_lists_every_target_with_a_sentence() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    listed = dict(
        re.findall(
            r"^  make ([a-z-]+) +(.+\.)$",
            subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout,
            re.MULTILINE,
        )
    )

    assert targets == set(listed)
    assert {"demo", "test", "check", "up", "down", "status", "doctor", "lock", "clean", "help"} <= targets


def test_the_gate_runs_the_checks_and_then_the_tests() -> None:
    commands = (ROOT / ".ci" / "run").read_text().splitlines()

    assert commands.index("make check") < commands.index("make test")
    assert "set -euo pipefail" in commands
