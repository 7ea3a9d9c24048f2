"""What one proof is: how many orders, which faults from which seed, in what time, and what it takes to count. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.prove.faults import plan
from lab.stack.commands import LOCAL

FOLDER = LOCAL / "prove"
QUICK_ORDERS, FULL_ORDERS = 400, 3000


@dataclass(frozen=True, slots=True)
class Parameters:
    """Times in seconds: `seconds` of the load and its faults, `bound` of one fault until it is seen.

    `patience` is how long nothing may move until a proof is over. `recovery_seconds` is how long everything may take to come to
    rest after the load and its faults, however much still moves: what is not done by then is judged unfinished, so that
    a message that goes round for ever ends a proof as well. `counts` says how often each kind of fault is
    injected, `least_faults` and `least_kinds` how many must be seen. `commands` are command lines of programs, by name,
    instead of their own.
    """

    seed: int
    orders: int
    counts: Mapping[str, int]
    seconds: float
    bound: float
    patience: float
    recovery_seconds: float
    least_faults: int
    least_kinds: int
    folder: Path = FOLDER
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def full(seed: int, orders: int = FULL_ORDERS) -> Parameters:
    """At most eight minutes on two cores: healing takes half a minute where all is well, and has what 300 s leave."""
    return Parameters(
        seed,
        orders,
        plan.FULL,
        seconds=300,
        bound=40,
        patience=60,
        recovery_seconds=170,
        least_faults=60,
        least_kinds=12,
    )


def quick(seed: int, orders: int = QUICK_ORDERS) -> Parameters:
    """At most a minute and a half on two cores; a busy machine may take several times as long to heal."""
    return Parameters(
        seed,
        orders,
        plan.QUICK,
        seconds=34,
        bound=20,
        patience=20,
        recovery_seconds=120,
        least_faults=15,
        least_kinds=8,
    )
