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
