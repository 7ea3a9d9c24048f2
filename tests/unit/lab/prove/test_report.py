"""The verdict of a proof in words."""

from dataclasses import replace

from lab.prove.figures import Figures
from lab.prove.report import verdict

SOUND = Figures(
    seed=1,
    orders=400,
    faults=20,
    fault_kinds=12,
    lost=0,
    duplicated=0,
    out_of_order=0,
    dead_letters=16,
    replayed=8,
    unfinished=0,
    seconds=80,
    resent=1,
    discarded=8,
)


def test_the_verdict_on_a_sound_system_is_that_nothing_is_lost_or_done_twice() -> None:
    assert verdict(SOUND) == (
        "400 orders under 20 faults of 12 kinds: nothing is lost, done twice, out of order or unfinished."
    )


def test_the_verdict_names_each_kind_of_finding_with_its_count_and_no_other() -> None:
    assert verdict(replace(SOUND, lost=3, unfinished=1)) == (
        "400 orders under 20 faults of 12 kinds: 3 lost, 1 unfinished."
    )
