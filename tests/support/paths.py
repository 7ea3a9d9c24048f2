"""The folders of the repository and of the servers of test sessions."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SESSIONS = ROOT / ".local" / "test"
