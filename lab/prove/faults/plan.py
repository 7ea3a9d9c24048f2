"""The plan of faults: which, when, on which program, how long. Pure.

The same seed gives the same plan; the timing of the effects is the machine's. Faults are spread evenly over the time of
the load and shuffled, so that each part of it has several kinds. Targets that only the running system knows (a child,
an event, a connection) are chosen there by the fault's own `pick`.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orders.workflow import POOLS

# How often each kind is injected. The full proof must count 60 faults of 12 kinds, the quick one 15 of 8.
FULL: Mapping[str, int] = {
    "kill_api": 5,
    "kill_relay": 5,
    "kill_worker_main": 8,
    "kill_worker_child": 12,
    "kill_collector": 3,
    "kill_sap": 2,
    "kill_smtp": 3,
    "restart_rabbitmq": 2,
    "restart_postgres": 3,
    "cut_connections_postgres": 5,
    "cut_connections_rabbitmq": 5,
    "hold_answers_postgres": 3,
    "hold_answers_rabbitmq": 3,
    "sap_errors": 3,
    "sap_timeouts": 3,
    "sap_lost_responses": 3,
    "sap_late_commits": 3,
    "sap_outage": 2,
    "smtp_refusing": 3,
    "smtp_refusing_for_good": 2,
    "duplicate_delivery": 6,
    "garbage": 4,
}
QUICK: Mapping[str, int] = {
    "kill_api": 1,
    "kill_relay": 1,
    "kill_worker_main": 2,
    "kill_worker_child": 3,
    "kill_collector": 1,
    "kill_smtp": 1,
    "restart_rabbitmq": 1,
    "restart_postgres": 1,
    "cut_connections_postgres": 2,
    "cut_connections_rabbitmq": 1,
    "hold_answers_postgres": 1,
    "sap_errors": 1,
    "sap_timeouts": 1,
    "sap_lost_responses": 1,
    "sap_late_commits": 1,
    "sap_outage": 1,
    "smtp_refusing": 1,
    "smtp_refusing_for_good": 1,
    "duplicate_delivery": 2,
    "garbage": 1,
}

# The lane of a fault. Two faults of one lane never overlap: neither could tell its own effect from the other's.
LANES: Mapping[str, str] = {
    "kill_sap": "sap",
    "sap_errors": "sap",
    "sap_timeouts": "sap",
    "sap_lost_responses": "sap",
    "sap_late_commits": "sap",
    "sap_outage": "sap",
    "kill_smtp": "smtp",
    "smtp_refusing": "smtp",
    "smtp_refusing_for_good": "smtp",
    "restart_rabbitmq": "rabbitmq",
    "cut_connections_rabbitmq": "rabbitmq",
    "hold_answers_rabbitmq": "rabbitmq",
    "restart_postgres": "postgres",
    "cut_connections_postgres": "postgres",
    "hold_answers_postgres": "postgres",
}
MESSAGES = ("duplicate_delivery", "garbage")
WORKERS = ("kill_worker_main", "kill_worker_child")
# A restart of the broker takes seconds in which everything waits: in the middle, where most orders are unfinished.
CENTRAL = frozenset({"restart_rabbitmq"})
SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 4.0
FIRST_SECONDS = 1.0  # by then an order is accepted


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault: `at` seconds after the first order, for `seconds`; `pick` in [0, 1) chooses the target."""

    number: int
    kind: str
    at: float
    target: str
    seconds: float
    pick: float

    @property
    def lane(self) -> str:
        """Faults of one lane run one after another; surplus messages have a lane of their own each."""
        if self.kind in MESSAGES:
            return self.kind + str(self.number)
        return LANES.get(self.kind) or (f"worker-{self.target}" if self.target else self.kind)

    @property
    def name(self) -> str:
        """The kind, with its target where there are several."""
        return f"{self.kind} {self.target}".rstrip()


def plan(seed: int, counts: Mapping[str, int], seconds: float) -> tuple[Planned, ...]:
    """The faults of `seed` within `seconds`, by time."""
    rng = random.Random(seed)  # noqa: S311  # reproducible, not secret
    drawn = [(kind, target) for kind, count in counts.items() for target in _targets(rng, kind, count)]
    rng.shuffle(drawn)
    slot = (seconds - FIRST_SECONDS) / len(drawn)
    faults = []
    for position, (kind, target) in enumerate(drawn):
        at = seconds * rng.uniform(0.3, 0.6) if kind in CENTRAL else FIRST_SECONDS + slot * (position + rng.random())
        faults.append((round(at, 3), kind, target, rng.uniform(SHORTEST_SECONDS, LONGEST_SECONDS), rng.random()))
    return tuple(
        Planned(number, kind, at, target, lasting, pick)
        for number, (at, kind, target, lasting, pick) in enumerate(sorted(faults), 1)
    )


def _targets(rng: random.Random, kind: str, count: int) -> Sequence[str]:
    """For faults of workers the pools in turn, from a random one on, so that each is hit; no target for other kinds."""
    if kind not in WORKERS:
        return [""] * count
    pools = tuple(POOLS)
    first = rng.randrange(len(pools))
    return [pools[(first + turn) % len(pools)] for turn in range(count)]
