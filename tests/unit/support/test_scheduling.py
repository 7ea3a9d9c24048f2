"""The workers' share of the tests: a folder with one system is one unit, each lane has its place, no name is stale."""

import pytest

from tests.support.scheduling import LANES, LONGEST, SHARED, TESTS, UnitScheduling


@pytest.mark.parametrize("folder", SHARED)
def test_the_tests_of_a_shared_system_are_one_unit(folder: str) -> None:
    scheduling = object.__new__(UnitScheduling)  # the scope of a test needs no workers
    names = [f"tests/{file.relative_to(TESTS)}::test" for file in (TESTS.parent / folder).glob("test_*.py")]
    assert len(names) > 1
    assert {scheduling._split_scope(name) for name in names} == {folder}
    assert scheduling._split_scope("tests/unit/relay/test_in_flight.py::test") == "tests/unit/relay/test_in_flight.py"


def test_every_lane_and_every_long_file_is_there() -> None:
    assert {file.relative_to(TESTS).parts[0] for file in TESTS.rglob("test_*.py")} == set(LANES)
    files = {file.name for file in TESTS.rglob("test_*.py")}
    assert set(LONGEST) <= files
