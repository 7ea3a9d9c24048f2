"""Filters on dead letters, as an operator states them: read, checked and turned into a `Selection`. Pure.

A refusal is an OptionError that names the option, its value, and the values that it takes. Called by the commands of
`ops.cli.dead_letters`, which declare one option for each field of `Filter`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from ops.errors import OptionError
from ops.time_arguments import parse_time
from orders.workflow import BY_NAME
from outbox.dead_letters.queries import Selection

_RATE = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(?:/s)?\Z")


@dataclass(frozen=True, slots=True)
class Filter:
    """The options as they were given. A dead letter must match all of them, and one value of each sequence."""

    ids: Sequence[int] = ()
    queues: Sequence[str] = ()
    steps: Sequence[str] = ()
    types: Sequence[str] = ()
    order: str | None = None
    fingerprint: str | None = None
    reason: str | None = None
    since: str | None = None
    until: str | None = None
    limit: int | None = None

    @property
    def narrows(self) -> bool:
        """Whether any option selects by content. A limit alone does not: it would take the oldest of everything."""
        return any(getattr(self, field.name) for field in fields(self) if field.name != "limit")

    def selection(self, state: str | None, now: datetime) -> Selection:
        """The dead letters that match; `subject` is the order as it was named. Raises OptionError."""
        return Selection(
            ids=tuple(self.ids),
            queues=(*self.queues, *(_queue_of(step) for step in self.steps)),
            types=tuple(self.types),
            subject=self.order,
            fingerprint=self.fingerprint,
            reason=self.reason,
            state=state,
            since=None if self.since is None else parse_time("--since", self.since, now),
            until=None if self.until is None else parse_time("--until", self.until, now),
            limit=self.limit,
        )


def parse_rate(value: str) -> float:
    """Dead letters a second, from `5/s` or `5`. Raises OptionError."""
    rate = _RATE.match(value.strip())
    if rate is None or float(rate[1]) <= 0:
        raise OptionError(f"--rate {value!r} is not a number of dead letters a second above 0, such as 5/s or 0.5/s")
    return float(rate[1])


def _queue_of(step: str) -> str:
    if step not in BY_NAME:
        raise OptionError(f"--step {step!r} is not a step; the steps are {', '.join(BY_NAME)}")
    return BY_NAME[step].queue
