"""Where the repository is, and where sessions of tests keep their servers."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SESSIONS = ROOT / ".local" / "test"
