"""Whether a system under a steady load stands still: its backlog and the memory of its programs. Pure.

Slopes are by least squares over all samples, so that neither the first nor the last one decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from orders.events import EVENT_TYPES, OrderRejected
from orders.workflow import STEPS

# A hundredth of what comes in may be on its way more than before; and never less than a retry's few seconds' worth,
# by which a backlog that stands still varies.
BACKLOG_SHARE = 0.01
RETRY_SECONDS = 3.0
# Messages of an order that completes: each of its events to each step that listens.
MESSAGES_PER_ORDER = sum(
    kind in step.listens_to for kind in EVENT_TYPES if kind != OrderRejected.type for step in STEPS
)
# Caches fill, pools are made and every path is walked once: what a program weighs is seen after that. Slowest are the
# workers' children: the caches of each fill until it has set some hundred pages, and four minutes at ten orders a
# second are 2,400 invoices among them. So much of ten minutes, and the same share of a shorter run.
SETTLED_SECONDS = 240.0
SETTLED_SHARE = 0.4
# A shorter run than about four minutes shows settling alone; its growth is told and not judged.
JUDGED_SECONDS = 220.0
# Per process of ours: at ten orders a second that fills less than a gigabyte in a day. It is above what first uses come
# to in ten minutes, a child that meets its first retry grows by 5 MB, and far below what keeps anything per order.
ALLOWED_BYTES_PER_ORDER = 1_000
# Of others, in all, what they keep by design.
ALLOWED_OF_OTHERS = {
    "sap": 5_000,  # the sandbox remembers every document
    "smtp": 5_000,  # and this one every message's headers
    "postgres": 5_000,  # connections come to know more tables and plans
    "rabbitmq": 30_000,  # holds what is in its write-ahead log, until that is 512 MB and becomes segments
}


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at one moment: seconds since the first order, and megabytes and processes by program.

    `unconfirmed` counts events that the relay's cursor has not advanced past, `queued` messages that wait in the steps' queues,
    `unfinished` orders that are neither completed nor rejected.
    """

    seconds: float
    unconfirmed: int
    queued: int
    unfinished: int
    memory_mb: Mapping[str, float]
    processes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many wait: the means of the second and the last fifth of a run, and their growth.

    `grown` is the slope over the whole run; `allowed` is the bound on it, and on what the last fifth has more.
    """

    first: float
    last: float
    per_minute: float
    grown: float
    allowed: float

    @property
    def flat(self) -> bool:
        """Whether neither the slope over the run nor the last fifth beside the second shows more than is allowed."""
        return self.grown <= self.allowed and self.last - self.first <= self.allowed


@dataclass(frozen=True, slots=True)
class Growth:
    """A program's memory in megabytes: the first and the last sample after it has settled, and its growth per hour.

    `allowed_per_hour` is None where the run was too short to judge by.
    """

    first: float
    last: float
    per_hour: float
    allowed_per_hour: float | None

    @property
    def flat(self) -> bool:
        """Whether it grows no faster than is allowed."""
        return self.allowed_per_hour is None or self.per_hour <= self.allowed_per_hour


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least squares: by how much y grows as x grows by one; 0 where x does not vary."""
    if len(points) < 2:
        return 0.0
    mean_x, mean_y = fmean(x for x, _ in points), fmean(y for _, y in points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def fifth(values: Sequence[float], number: int) -> float:
    """The mean of the second, or another, fifth of the values (from 1); of all where there are too few."""
    size = len(values) / 5
    part = values[round((number - 1) * size) : round(number * size)]
    return fmean(part or values)


def order_backlog(samples: Sequence[Sample], rate: float) -> Backlog:
    """How the number of unfinished orders went while `rate` orders a second came in."""
    return _backlog([(sample.seconds, float(sample.unfinished)) for sample in samples], rate)


def message_backlog(samples: Sequence[Sample], rate: float) -> Backlog:
    """How the events before the relay and the messages behind it went: an order may be finished and not yet audited."""
    points = [(sample.seconds, float(sample.unconfirmed + sample.queued)) for sample in samples]
    return _backlog(points, rate * MESSAGES_PER_ORDER)


def _backlog(points: Sequence[tuple[float, float]], rate: float) -> Backlog:
    values = [waiting for _, waiting in points]
    per_second, last = slope(points), points[-1][0]
    allowed = rate * max(RETRY_SECONDS, BACKLOG_SHARE * last)
    return Backlog(fifth(values, 2), fifth(values, 5), per_second * 60, per_second * (last - points[0][0]), allowed)


def growth(samples: Sequence[Sample], rate: float) -> dict[str, Growth]:
    """How each program's memory went once it had settled, or in the last three fifths of a run too short for that."""
    settled = min(SETTLED_SECONDS, samples[-1].seconds * SETTLED_SHARE)
    judged = [sample for sample in samples if sample.seconds >= settled]
    long_enough = samples[-1].seconds >= JUDGED_SECONDS
    grown = {}
    for name, processes in judged[0].processes.items():
        points = [(sample.seconds / 3600, sample.memory_mb[name]) for sample in judged if name in sample.memory_mb]
        per_order = ALLOWED_OF_OTHERS.get(name, ALLOWED_BYTES_PER_ORDER * processes)
        allowed = per_order * rate * 3600 / 1e6 if long_enough else None
        grown[name] = Growth(points[0][1], points[-1][1], slope(points), allowed)
    return grown
