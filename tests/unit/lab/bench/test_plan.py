"""The plan of a benchmark's command line."""

import pytest

from lab.bench.plan import CHUNKS, PARTS, QUICK, SLICES, Plan, parse


def test_the_full_size_is_what_the_figures_are_defined_on() -> None:
    plan = parse([])

    assert plan == Plan()
    assert plan.parts == PARTS
    assert (plan.history, plan.history // CHUNKS) == (1_000_000, 100_000)


def test_quick_is_a_tenth_of_each_part() -> None:
    plan = parse(["--quick"])

    assert plan == QUICK
    assert plan.events * 10 == Plan().events
    assert plan.history * 10 == Plan().history


def test_a_part_can_be_measured_alone_in_another_size() -> None:
    plan = parse(["--quick", "--only", "ratio", "--rounds", "7", "--events", "1234"])

    assert (plan.parts, plan.rounds, plan.events) == (("ratio",), 7, 1234)


@pytest.mark.parametrize(
    ("words", "reported"),
    [
        (["--rounds", "0"], "'0' is not a whole number above 0"),
        (["--events", "many"], "'many' is not a whole number above 0"),
        (["--only", "everything"], "invalid choice: 'everything'"),
        (["--history", "150"], f"150 is not a multiple of {CHUNKS * SLICES}"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
    ids=["rounds", "events", "part", "history", "unknown"],
)
def test_an_unusable_argument_is_refused_by_its_name(
    words: list[str], reported: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse(words)

    assert end.value.code == 2
    assert reported in capsys.readouterr().err
