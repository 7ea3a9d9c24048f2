"""The totals, and how Prometheus's answer is read."""

from lab.observe.totals import TOTALS, Total, counts_of
from ops.doctor.prometheus_api import Sample


def test_no_total_is_there_twice() -> None:
    assert len({total.name for total in TOTALS}) == len(TOTALS)


def test_prometheus_s_answer_is_split_by_the_label_of_the_total_if_it_has_one() -> None:
    by_step = Total("done", "sum by (step) (d)", "step")

    assert counts_of(by_step, [Sample({"step": "a"}, 2), Sample({"step": "b"}, 0)]) == {"a": 2, "b": 0}
    assert counts_of(Total("all", "sum(d)"), [Sample({}, 5)]) == {"": 5}
    assert counts_of(by_step, []) == {}
