from collections import Counter

import pytest

from lab.prove import parameters
from lab.prove.faults.injector import FAULTS
from lab.prove.faults.plan import FULL, LONGEST_SECONDS, QUICK, SHORTEST_SECONDS, plan
from orders.workflow import POOLS


def test_the_same_seed_gives_the_same_plan() -> None:
    assert plan(7, FULL, 240) == plan(7, FULL, 240)


def test_another_seed_gives_another_plan() -> None:
    assert plan(7, FULL, 240) != plan(8, FULL, 240)


@pytest.mark.parametrize("counts", [FULL, QUICK])
def test_each_kind_is_there_as_often_as_requested_and_within_the_time(counts: dict[str, int]) -> None:
    faults = plan(3, counts, 100)

    assert Counter(fault.kind for fault in faults) == counts
    assert all(0 <= fault.at <= 100 for fault in faults)
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    assert all(SHORTEST_SECONDS <= fault.seconds <= LONGEST_SECONDS for fault in faults)


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_of_worker_meets_both_kinds_of_death_in_the_full_proof(seed: int) -> None:
    faults = plan(seed, FULL, 240)

    for kind in ("kill_worker_main", "kill_worker_child"):
        assert {fault.target for fault in faults if fault.kind == kind} == set(POOLS)


def test_every_kind_that_is_planned_can_be_injected() -> None:
    assert set(FULL) == set(FAULTS)
    assert set(QUICK) <= set(FAULTS)


@pytest.mark.parametrize("whole", [parameters.full(1), parameters.quick(1)])
def test_more_is_planned_than_has_to_be_observed(whole: parameters.Parameters) -> None:
    assert sum(whole.counts.values()) >= 1.25 * whole.least_faults
    assert len(whole.counts) >= 1.25 * whole.least_kinds


def test_faults_that_would_hide_each_others_effects_share_a_lane() -> None:
    lanes = {fault.kind: fault.lane for fault in plan(1, FULL, 240)}

    assert lanes["sap_outage"] == lanes["sap_errors"] == lanes["kill_sap"]
    assert lanes["smtp_refusing"] == lanes["kill_smtp"]
    assert lanes["restart_postgres"] == lanes["cut_connections_postgres"]
    assert lanes["restart_rabbitmq"] == lanes["cut_connections_rabbitmq"]
    assert len({fault.lane for fault in plan(1, {"kill_worker_main": 4}, 240)}) == len(POOLS)
