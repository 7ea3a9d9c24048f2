import json
from dataclasses import replace

from lab.prove import parameters
from lab.prove.faults.injector import Injected
from lab.prove.faults.plan import Planned
from lab.prove.figures import ProofResult, enough, figures
from lab.prove.judge.finding import Finding
from lab.prove.recovery import Recovered

QUICK = parameters.quick(7)


def injected(kind: str, *, seen: bool = True, unfinished: int = 3) -> Injected:
    return Injected(Planned(1, kind, 0.5, "", 1.0, 0.5), 100.0, 101.0, seen, unfinished, "as expected")


def outcome(*faults: Injected, findings: tuple[Finding, ...] = ()) -> ProofResult:
    return ProofResult(400, faults, Recovered(dead_letters=20, replayed=4, discarded=16), findings)


ENOUGH = [injected(f"kind {number % QUICK.least_kinds}") for number in range(QUICK.least_faults)]


def test_the_last_line_has_the_promised_fields_in_the_promised_order_first() -> None:
    line = json.loads(figures(QUICK, outcome(*ENOUGH), 81.234).line())

    assert list(line.items()) == [
        ("seed", 7), ("orders", 400), ("faults", 15), ("fault_kinds", 8), ("lost", 0), ("duplicated", 0),
        ("out_of_order", 0), ("dead_letters", 20), ("replayed", 4), ("unfinished", 0), ("seconds", 81.2),
        ("resent", 0), ("discarded", 16),
    ]  # fmt: skip


def test_a_fault_counts_only_if_it_was_observed_while_an_order_was_unfinished() -> None:
    faults = (injected("a"), injected("b", seen=False), injected("c", unfinished=0))

    found = figures(QUICK, outcome(*faults), 1)

    assert (found.faults, found.fault_kinds) == (1, 1)


def test_too_few_faults_or_kinds_are_no_proof() -> None:
    assert enough(QUICK, figures(QUICK, outcome(*ENOUGH), 1))
    assert not enough(QUICK, figures(QUICK, outcome(*ENOUGH[1:]), 1))
    assert not enough(QUICK, figures(QUICK, outcome(*[injected("the same")] * 50), 1))


def test_a_resent_e_mail_is_counted_and_is_not_wrong() -> None:
    found = figures(QUICK, outcome(findings=(Finding("resent", "e-mail", "DEMO-1"),)), 1)

    assert (found.resent, found.wrong) == (1, 0)


def test_each_of_the_four_is_wrong() -> None:
    well = figures(QUICK, outcome(), 1)

    for kind in ("lost", "duplicated", "out_of_order", "unfinished"):
        assert replace(well, **{kind: 1}).wrong == 1
