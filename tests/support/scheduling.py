"""Which tests a worker of pytest-xdist takes together, and which work is begun first.

A unit of work is a file, because its tests share a database. A folder in `SHARED` is one unit: its tests share a whole
system or a broker of their own, which take 40 and 8 seconds of CPU. The units are taken lane by lane, the longest
tests first, so that no worker is left with a long unit when the others have finished.
"""

from functools import cache
from pathlib import Path

import pytest
from xdist.scheduler.loadfile import LoadFileScheduling

TESTS = Path(__file__).parents[1]
SHARED = ("tests/e2e/one_system/", "tests/process/relay/own_broker/")
# The lanes by the time that one of their files takes, and in a lane the files that take longest.
LANES = ("e2e", "process", "component", "contract", "config", "unit")
LONGEST = ("test_prove.py",)


class UnitScheduling(LoadFileScheduling):  # type: ignore[misc]
    """Files, but for the folders whose tests share a system."""

    def _split_scope(self, nodeid: str) -> str:
        for folder in SHARED:
            if nodeid.startswith(folder):
                return folder
        return str(super()._split_scope(nodeid))


def longest_first(item: pytest.Item) -> tuple[int, bool]:
    """The key by which tests are sorted; tests of a file and of a lane keep their order."""
    lane, name = place_of(item.path)
    return LANES.index(lane), name not in LONGEST


@cache
def place_of(path: Path) -> tuple[str, str]:
    """A test file's lane and its name."""
    lane, *_, name = path.relative_to(TESTS).parts
    return lane, name
