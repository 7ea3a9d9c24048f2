"""The figures of a proof, and whether enough faults were observed to call it one. Pure."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from lab.prove.faults.injector import Injected
from lab.prove.judge.finding import Finding
from lab.prove.parameters import Parameters
from lab.prove.recovery import Recovered


@dataclass(frozen=True, slots=True)
class ProofResult:
    """What one proof came to: orders accepted over HTTP, injected faults, recovery, and the findings."""

    accepted: int
    injected: Sequence[Injected]
    recovered: Recovered
    findings: Sequence[Finding]


@dataclass(frozen=True, slots=True)
class Figures:
    """The last line of a proof."""

    seed: int
    orders: int
    faults: int
    fault_kinds: int
    lost: int
    duplicated: int
    out_of_order: int
    dead_letters: int
    replayed: int
    unfinished: int
    seconds: float
    resent: int
    discarded: int

    @property
    def wrong(self) -> int:
        """The number of findings that must not be: all but `resent`."""
        return self.lost + self.duplicated + self.out_of_order + self.unfinished

    def line(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))


def figures(parameters: Parameters, outcome: ProofResult, seconds: float) -> Figures:
    """The figures of one proof that took `seconds` in all."""
    seen = counted_faults(outcome.injected)
    kinds = Counter(finding.kind for finding in outcome.findings)
    return Figures(
        seed=parameters.seed,
        orders=outcome.accepted,
        faults=seen.total(),
        fault_kinds=len(seen),
        lost=kinds["lost"],
        duplicated=kinds["duplicated"],
        out_of_order=kinds["out_of_order"],
        dead_letters=outcome.recovered.dead_letters,
        replayed=outcome.recovered.replayed,
        unfinished=kinds["unfinished"],
        seconds=round(seconds, 1),
        resent=kinds["resent"],
        discarded=outcome.recovered.discarded,
    )


def counted_faults(injected: Sequence[Injected]) -> Counter[str]:
    """Faults that count, by kind."""
    return Counter(one.planned.kind for one in injected if one.counts)


def enough(parameters: Parameters, found: Figures) -> bool:
    """Whether the faults that count are as many, and of as many kinds, as a proof needs."""
    return found.faults >= parameters.least_faults and found.fault_kinds >= parameters.least_kinds
