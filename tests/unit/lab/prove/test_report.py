"""What a proof says in words of its figures."""

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


def test_a_sound_system_is_said_to_have_lost_and_doubled_nothing() -> None:
    assert verdict(SOUND) == (
        "400 orders under 20 faults of 12 kinds: nothing is lost, done twice, out of order or unfinished."
    )


def test_what_is_wrong_is_named_with_its_count_and_nothing_else_is() -> None:
    assert verdict(replace(SOUND, lost=3, unfinished=1)) == (
        "400 orders under 20 faults of 12 kinds: 3 lost, 1 unfinished."
    )
