"""The parameters of one proof: how many orders, which faults, how long, and how many faults it needs. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.prove.faults import plan
from lab.stack.commands import LOCAL

FOLDER = LOCAL / "prove"
QUICK_ORDERS, FULL_ORDERS = 400, 3000


@dataclass(frozen=True, slots=True)
class Parameters:
    """Times in seconds: `seconds` for the load and its faults, `bound` for one fault until its effect is observed.

    `patience`: recovery ends when nothing has moved for so long. `recovery_seconds`: recovery ends after so long even
    if something still moves, so that a message that circulates for ever ends a proof as well; unfinished work is then
    judged unfinished. `counts` says how often each kind of fault is injected; `least_faults` and `least_kinds` how many
    must be observed. `commands` replaces the command lines of programs, by name.
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
    """At most eight minutes on two cores. Recovery takes half a minute if all is well; it may take what 300 s leave."""
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
    """At most a minute and a half on two cores; on a busy machine recovery may take several times as long."""
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
