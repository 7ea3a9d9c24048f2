"""The figures of a soak: whether the backlog and the memory of each program stay flat under a steady load. Pure.

Slopes are by least squares over all samples, so that neither the first nor the last one decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from orders.events import EVENT_TYPES, OrderRejected
from orders.workflow import STEPS

# The backlog may grow by a hundredth of the orders sent; and always by the orders of a retry's few seconds, by which
# a flat backlog varies.
BACKLOG_SHARE = 0.01
RETRY_SECONDS = 3.0
# Messages of an order that completes: each of its events to each step that listens.
MESSAGES_PER_ORDER = sum(
    kind in step.listens_to for kind in EVENT_TYPES if kind != OrderRejected.type for step in STEPS
)
# A program's memory is judged after its caches are full, its pools are made and every code path has run once. Slowest
# are the workers' children: the caches of each fill until it has typeset some hundred pages, and four minutes at ten
# orders a second are 2,400 invoices among them. So four of ten minutes, and the same share of a shorter run.
SETTLED_SECONDS = 240.0
SETTLED_SHARE = 0.4
# A shorter run than about four minutes shows settling alone; its growth is printed and not judged.
JUDGED_SECONDS = 220.0
# Per process of ours: at ten orders a second that is less than a gigabyte a day. It is above the growth by first uses
# in ten minutes (a child's first retry takes 5 MB), and far below that of a process that keeps anything per order.
ALLOWED_BYTES_PER_ORDER = 1_000
# Of other programs, in all: what they keep by design.
ALLOWED_OF_OTHERS = {
    "sap": 5_000,  # the sandbox remembers every document
    "smtp": 5_000,  # and the mail sandbox the headers of every message
    "postgres": 5_000,  # each connection caches more tables and plans
    "rabbitmq": 30_000,  # holds its write-ahead log in memory until that is 512 MB and becomes segments
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample: seconds since the first order, and megabytes and processes by program.

    `unconfirmed` counts events that the relay's cursor has not advanced past, `queued` messages that wait in the steps'
    queues, `unfinished` orders that are neither completed nor rejected.
    """

    seconds: float
    unconfirmed: int
    queued: int
    unfinished: int
    memory_mb: Mapping[str, float]
    processes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Backlog:
    """A backlog: its means in the second and the last fifth of a run, and its growth.

    `grown` is the slope over the whole run; `allowed` is the bound on it, and on the difference of the two fifths.
    """

    first: float
    last: float
    per_minute: float
    grown: float
    allowed: float

    @property
    def flat(self) -> bool:
        """Whether neither the slope over the run nor the difference of the two fifths exceeds the bound."""
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
    """The backlog of unfinished orders while `rate` orders a second were sent."""
    return _backlog([(sample.seconds, float(sample.unfinished)) for sample in samples], rate)


def message_backlog(samples: Sequence[Sample], rate: float) -> Backlog:
    """The backlog of unconfirmed events and queued messages: an order may be finished and not yet audited."""
    points = [(sample.seconds, float(sample.unconfirmed + sample.queued)) for sample in samples]
    return _backlog(points, rate * MESSAGES_PER_ORDER)


def _backlog(points: Sequence[tuple[float, float]], rate: float) -> Backlog:
    values = [waiting for _, waiting in points]
    per_second, last = slope(points), points[-1][0]
    allowed = rate * max(RETRY_SECONDS, BACKLOG_SHARE * last)
    return Backlog(fifth(values, 2), fifth(values, 5), per_second * 60, per_second * (last - points[0][0]), allowed)


def growth(samples: Sequence[Sample], rate: float) -> dict[str, Growth]:
    """The growth of each program's memory once it has settled, or in the last three fifths of a short run."""
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
