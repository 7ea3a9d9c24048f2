import pytest

from lab.percentiles import percentile, rounded_percentile

ONE_TO_A_HUNDRED = [float(number) for number in range(100, 0, -1)]


@pytest.mark.parametrize(("per_cent", "value"), [(50, 50.0), (99, 99.0), (100, 100.0), (1, 1.0), (0, 1.0)])
def test_a_percentile_is_the_value_of_its_nearest_rank(per_cent: int, value: float) -> None:
    assert percentile(ONE_TO_A_HUNDRED, per_cent) == rounded_percentile(ONE_TO_A_HUNDRED, per_cent) == value


def test_one_value_is_each_percentile() -> None:
    assert percentile([7.0], 50) == percentile([7.0], 99) == 7.0


def test_a_trial_prints_a_percentile_to_a_tenth() -> None:
    assert rounded_percentile([7.04], 50) == 7.0


def test_there_is_no_percentile_of_no_values() -> None:
    assert rounded_percentile([], 50) is None
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)
