"""What the doctor says of one thing."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """BAD makes the doctor's exit code 1."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One line of the report; `remedy` is empty when there is nothing to do."""

    verdict: Verdict
    subject: str
    found: str
    remedy: str = ""


def to_start(program: str, *, local: bool) -> str:
    """How a program is brought back: by the supervisor of `make up`, which has it by this name, or by its command."""
    if local:
        return f"`lab restart {program}`"
    return f"start `waybill {program.replace('worker-', 'worker ')}`"
