"""The observations that an observed relay or a writer leaves in a file: times by CLOCK_MONOTONIC.

All processes of a machine share that clock.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab.bench.errors import BenchError


@dataclass
class Observations:
    """When each statement was answered, when each event was confirmed (by its id), and the first publish."""

    statements: list[float] = field(default_factory=list)
    confirmed: dict[str, float] = field(default_factory=dict)
    first_publish: float = 0.0


def write(path: Path, seen: Observations) -> None:
    """Write the file."""
    path.write_text(json.dumps(asdict(seen)))


def read(path: Path) -> Observations:
    """Read the file. Raises BenchError when the process ended without writing it."""
    try:
        return Observations(**json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise BenchError(f"{path} was not written: the process that should write it has failed") from error
