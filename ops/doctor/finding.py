"""The result of one check."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad a finding is. BAD makes the exit code of `waybill doctor` 1."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One line of the report; `remedy` is empty if there is nothing to do."""

    verdict: Verdict
    subject: str
    found: str
    remedy: str = ""


def to_start(program: str, *, local: bool) -> str:
    """The command that starts a program again: `lab restart` in the local system, else its own."""
    if local:
        return f"`lab restart {program}`"
    return f"start `waybill {program.replace('worker-', 'worker ')}`"
