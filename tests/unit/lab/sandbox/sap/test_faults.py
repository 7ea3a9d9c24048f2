from itertools import product

import pytest
from pydantic import ValidationError

from lab.sandbox.sap.faults import Fault, FaultPlan, FaultSettings

RATES = FaultSettings(error_rate=0.05, timeout_rate=0.03, lost_rate=0.02, late_rate=0.01)
CALLS = list(product([f"R-{n}" for n in range(2000)], [1, 2]))


def fates(seed: int, settings: FaultSettings = RATES) -> list[Fault | None]:
    plan = FaultPlan(seed, settings)
    return [plan.fault(order, attempt) for order, attempt in CALLS]


def test_the_same_seed_draws_the_same_faults_and_another_seed_others() -> None:
    assert fates(1) == fates(1)
    assert fates(1) != fates(2)


def test_each_attempt_of_one_order_draws_its_own_fault() -> None:
    plan = FaultPlan(1, FaultSettings(error_rate=0.5))
    assert {plan.fault("R-1", attempt) for attempt in range(1, 30)} == {None, Fault.ERROR}


def test_faults_come_at_their_rates() -> None:
    drawn = fates(1)
    shares = {fault: drawn.count(fault) / len(drawn) for fault in Fault}
    wanted = {Fault.ERROR: 0.05, Fault.TIMEOUT: 0.03, Fault.LOST: 0.02, Fault.LATE: 0.01}
    assert shares == pytest.approx(wanted, abs=0.008)


@pytest.mark.parametrize("rate", ["error_rate", "timeout_rate", "lost_rate", "late_rate"])
def test_a_rate_of_one_means_always_and_of_nought_never(rate: str) -> None:
    assert set(fates(1, FaultSettings().changed({rate: 1}))) == {Fault(rate.removesuffix("_rate"))}
    assert set(fates(1, FaultSettings())) == {None}


def test_times_stay_between_their_bounds() -> None:
    plan = FaultPlan(1, FaultSettings(latency_ms=(20, 60), late_seconds=4))
    latencies = [plan.latency_seconds(order, attempt) for order, attempt in CALLS]
    commits = [plan.late_commit_seconds(order, attempt) for order, attempt in CALLS]
    assert 0.020 <= min(latencies) < 0.022
    assert 0.058 < max(latencies) <= 0.060
    assert 2 <= min(commits) < 2.1
    assert 3.9 < max(commits) <= 4


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"error_rate": 0.6, "lost_rate": 0.5}, "add up to 1.1"),
        ({"latency_ms": (60, 20)}, "the lower one first"),
        ({"error_rate": -0.1}, "greater than or equal to 0"),
        ({"eror_rate": 0.1}, "Extra inputs"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        FaultSettings().changed(changes)
