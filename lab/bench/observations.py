"""What an observed relay leaves behind, and a writer: moments by CLOCK_MONOTONIC, which all processes share."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab.bench.errors import BenchError


@dataclass
class Observations:
    """When each statement had been answered, when each event was confirmed (by its id), the first publish."""

    statements: list[float] = field(default_factory=list)
    confirmed: dict[str, float] = field(default_factory=dict)
    first_publish: float = 0.0


def write(path: Path, seen: Observations) -> None:
    """Leave it behind."""
    path.write_text(json.dumps(asdict(seen)))


def read(path: Path) -> Observations:
    """Take it up; raises BenchError when the process ended without leaving it."""
    try:
        return Observations(**json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise BenchError(f"{path} was not written: the observed relay ended in disorder") from error
