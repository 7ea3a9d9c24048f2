"""The commands `waybill` and `lab` as processes, and a check that a page answers."""

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.stack.errors import StackError
from lab.stack.program import clean_environment

ROOT = Path(__file__).parents[2]
LOCAL = ROOT / ".local"  # one folder for each instance
UP = LOCAL / "up"  # the instance of `make up`
COMMAND_SECONDS = 120


def waybill(*words: str) -> tuple[str, ...]:
    """The command line of a `waybill` command in this environment."""
    return (sys.executable, "-m", "ops.cli", *words)


def lab(*words: str) -> tuple[str, ...]:
    """The command line of a `lab` command in this environment."""
    return (sys.executable, "-m", "lab", *words)


def run_command(words: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a `waybill` command to its end and return its output. Raises StackError, with the last line, if it fails."""
    result = subprocess.run(
        waybill(*words),
        env={**clean_environment(), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )
    if result.returncode != 0:
        lines = (result.stderr or result.stdout).strip().splitlines() or ["no output"]
        raise StackError(f"`waybill {' '.join(words)}` failed: {lines[-1].removeprefix('waybill: ')}")
    return result.stdout


def answers(url: str) -> bool:
    """Whether a GET of this URL returns status 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310  # our own loopback address
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
