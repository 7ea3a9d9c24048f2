"""The size of a benchmark: full, a tenth of it, or one part alone. Pure but for argparse."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

PARTS = ("ratio", "flatness", "latency", "idle")
CHUNKS = 10  # of the long history; the first is compared with the last
SLICES = 10  # of each chunk


@dataclass(frozen=True, slots=True)
class Plan:
    """`events` are of one round, `history` of one flatness run; `history` is a multiple of CHUNKS * SLICES."""

    parts: tuple[str, ...] = PARTS
    rounds: int = 5
    events: int = 50_000
    history: int = 1_000_000
    latency_seconds: float = 20.0
    idle_seconds: float = 15.0


QUICK = Plan(rounds=3, events=5_000, history=100_000, latency_seconds=4.0, idle_seconds=5.0)


def parse(words: Sequence[str] | None = None) -> Plan:
    """The plan of a command line; an unusable argument ends the process with a message that names it."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench.relay", description="Measure the relay on real servers.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the size")
    parser.add_argument("--only", choices=PARTS, help="measure this part alone")
    parser.add_argument("--rounds", type=_positive, help="rounds of raw and relay")
    parser.add_argument("--events", type=_positive, help="events of each round")
    parser.add_argument("--history", type=_slices, help="events of the long history that flatness is measured on")
    given = parser.parse_args(words)
    plan = QUICK if given.quick else Plan()
    return replace(
        plan,
        parts=(given.only,) if given.only else PARTS,
        rounds=given.rounds or plan.rounds,
        events=given.events or plan.events,
        history=given.history or plan.history,
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _slices(text: str) -> int:
    number = _positive(text)
    if number % (CHUNKS * SLICES):
        raise argparse.ArgumentTypeError(f"{text} is not a multiple of {CHUNKS * SLICES}")
    return number
