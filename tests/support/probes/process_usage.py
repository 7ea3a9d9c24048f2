"""The CPU time and memory of a process that only waits."""

import subprocess
import time
from collections.abc import Callable

import psutil

from tests.support.deadlines import ANSWER_SECONDS

MEBIBYTE = 1024 * 1024
STEADY_READINGS = 15


class Usage:
    """CPU time and memory of a process from now on."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = psutil.Process(process.pid)
        self._began, self._cpu, self._memory = time.monotonic(), self._cpu_seconds(), self._process.memory_info().rss

    def _cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def assert_next_to_nothing(self, most_bytes: float = 8 * MEBIBYTE) -> None:
        """At most a fifth of one core, and no more memory than may come and go."""
        share = (self._cpu_seconds() - self._cpu) / (time.monotonic() - self._began)
        assert share < 0.2, f"{share:.0%} of a core while there is nothing to do but wait"
        grown = self._process.memory_info().rss - self._memory
        assert grown < most_bytes, f"{grown / MEBIBYTE:.1f} MiB more while there is nothing to do but wait"


def wait_until_steady(value: Callable[[], float]) -> None:
    """Return once a value has been the same at several readings: while the machine pauses there is no reading."""
    seen, readings = value(), 1
    deadline = time.monotonic() + ANSWER_SECONDS
    while readings < STEADY_READINGS:
        assert time.monotonic() < deadline, f"it still changes: {seen}"
        time.sleep(0.02)
        before, seen = seen, value()
        readings = readings + 1 if seen == before else 1
