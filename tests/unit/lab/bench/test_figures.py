"""The benchmark's arithmetic and its last line."""

import json

import pytest

from lab.bench.figures import MEANINGS, flatness, result_line, table

KEYS = [
    "raw_events_per_s",
    "relay_events_per_s",
    "ratio",
    "flatness",
    "flatness_held",
    "dead_tuples",
    "wal_bytes_per_event",
    "pg_statements_per_1000_events",
    "commit_to_confirm_ms_p50",
    "commit_to_confirm_ms_p99",
    "idle_cpu_percent",
]


def test_flatness_compares_the_end_with_the_beginning_and_ignores_one_slow_slice() -> None:
    assert flatness([100, 100, 100], [90, 90, 1]) == pytest.approx(0.9)


def test_flatness_is_not_moved_by_a_machine_that_gets_slower_for_both() -> None:
    assert flatness([100, 50, 20], [90, 45, 18]) == pytest.approx(0.9)


def test_the_last_line_has_exactly_the_promised_keys_in_their_order() -> None:
    line = result_line(dict.fromkeys(reversed(KEYS), 1.0))

    assert list(json.loads(line)) == KEYS
    assert "\n" not in line


def test_a_part_alone_has_its_own_keys_only() -> None:
    assert json.loads(result_line({"idle_cpu_percent": 1.23456})) == {"idle_cpu_percent": 1.235}


def test_large_figures_are_whole_numbers() -> None:
    assert json.loads(result_line({"raw_events_per_s": 12345.678})) == {"raw_events_per_s": 12346}


def test_an_unknown_figure_is_refused() -> None:
    with pytest.raises(KeyError, match="speed"):
        result_line({"speed": 1.0})


def test_the_table_explains_each_figure() -> None:
    text = table({"ratio": 0.95})

    assert "ratio" in text
    assert "0.95" in text
    assert MEANINGS["ratio"] in text
