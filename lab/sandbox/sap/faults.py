"""The fault plan of the SAP sandbox: each fault is drawn from hash(seed, order number, attempt), so it is reproducible.

The same seed gives the same order the same fault at the same attempt, whatever else happens at the time. Rates may
change while the sandbox runs: the drawn number stays the same, only the part of [0, 1) that means a fault changes.
"""

import hashlib
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Rate = Annotated[float, Field(ge=0, le=1)]


class Fault(StrEnum):
    """The ways in which one POST can go wrong."""

    ERROR = "error"  # an OData error 500 or 503; nothing committed
    TIMEOUT = "timeout"  # no answer for as long as the client waits; nothing committed
    LOST = "lost"  # committed, then the connection is cut before the answer
    LATE = "late"  # the connection is cut, and the document committed some seconds later


class FaultSettings(BaseModel):
    """The fault knobs; each can be changed while the sandbox runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    error_rate: Rate = 0.0
    timeout_rate: Rate = 0.0
    lost_rate: Rate = 0.0
    late_rate: Rate = 0.0
    late_seconds: float = Field(default=3.0, ge=0, description="longest time from cut connection to late commit")
    latency_ms: tuple[float, float] = Field(default=(20.0, 60.0), description="shortest and longest answer")
    outage: bool = Field(default=False, description="every call answers 503")
    retry_after_seconds: int | None = Field(default=None, ge=0, description="sent as Retry-After with each 503")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        total = self.error_rate + self.timeout_rate + self.lost_rate + self.late_rate
        if total > 1:
            raise ValueError(f"the four rates add up to {total:g}; at most 1 of all calls can go wrong")
        low, high = self.latency_ms
        if not 0 <= low <= high:
            raise ValueError(f"latency_ms {low:g}-{high:g} must be two figures of 0 or more, the lower one first")
        return self

    def changed(self, changes: dict[str, object]) -> "FaultSettings":
        """These settings with `changes`; raises pydantic.ValidationError."""
        return FaultSettings.model_validate(self.model_dump() | changes)


# The changes that turn every fault off.
NO_FAULTS: dict[str, Any] = FaultSettings().model_dump(exclude={"late_seconds", "latency_ms"})


def problems_of(error: ValidationError) -> list[str]:
    """One line for each setting that cannot be used."""
    return [
        f"{'.'.join(map(str, one['loc'])) or 'settings'}: {one['msg']} (got {one['input']!r})" for one in error.errors()
    ]


class FaultPlan:
    """The draws of one seed."""

    def __init__(self, seed: int, settings: FaultSettings) -> None:
        self.seed = seed
        self.settings = settings

    def fault(self, order_number: str, attempt: int) -> Fault | None:
        """The fault of POST number `attempt` (from 1) for this order; None: it succeeds."""
        drawn = self._draw("fault", order_number, attempt)
        s = self.settings
        rates = (
            (Fault.ERROR, s.error_rate),
            (Fault.TIMEOUT, s.timeout_rate),
            (Fault.LOST, s.lost_rate),
            (Fault.LATE, s.late_rate),
        )
        for fault, rate in rates:
            if drawn < rate:
                return fault
            drawn -= rate
        return None

    def error_status(self, order_number: str, attempt: int) -> int:
        """500 or 503, evenly."""
        return 500 if self._draw("status", order_number, attempt) < 0.5 else 503

    def latency_seconds(self, *key: object) -> float:
        """How long the answer takes, between the two bounds."""
        low, high = self.settings.latency_ms
        return (low + (high - low) * self._draw("latency", *key)) / 1000

    def late_commit_seconds(self, order_number: str, attempt: int) -> float:
        """From the cut connection to the commit: between half of late_seconds and all of it."""
        return self.settings.late_seconds * (0.5 + 0.5 * self._draw("late", order_number, attempt))

    def _draw(self, purpose: str, *key: object) -> float:
        text = "\x1f".join(str(part) for part in (self.seed, purpose, *key))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
