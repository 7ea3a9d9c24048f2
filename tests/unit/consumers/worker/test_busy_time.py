"""Busy seconds are exact for whatever has reported its time, grow while a delivery runs, and never go down."""

import itertools
import random

import pytest

from consumers.worker.busy_time import BusySeconds


def test_an_ended_delivery_counts_as_long_as_it_took() -> None:
    busy = BusySeconds()
    assert busy.since_last_update(1000.0, [("a", 0.125), ("b", 0.25)], []) == 0.375


def test_a_running_delivery_counts_from_update_to_update_and_its_report_corrects_the_rest() -> None:
    busy = BusySeconds()
    assert busy.since_last_update(100.0, [], ["a"]) == 0  # it may have begun just now
    assert busy.since_last_update(105.0, [], ["a"]) == 5
    assert busy.since_last_update(110.0, [], ["a", "b"]) == 5
    assert busy.since_last_update(110.5, [("a", 10.6)], ["b"]) == pytest.approx(0.6 + 0.5)


def test_a_reported_delivery_is_counted_no_further_while_celery_still_waits_for_it() -> None:
    busy = BusySeconds()
    busy.since_last_update(100.0, [], ["a"])
    assert busy.since_last_update(101.0, [("a", 1.5)], ["a"]) == 1.5
    assert busy.since_last_update(102.0, [], ["a"]) == 0
    assert busy.since_last_update(103.0, [], []) == 0
    assert busy.since_last_update(104.0, [], ["a"]) == 0  # it has come again
    assert busy.since_last_update(105.0, [], ["a"]) == 1


def test_what_a_killed_child_was_at_stays_counted() -> None:
    busy = BusySeconds()
    busy.since_last_update(100.0, [], ["a"])
    assert busy.since_last_update(104.0, [], ["a"]) == 4
    assert busy.since_last_update(105.0, [], []) == 0
    busy.since_last_update(110.0, [], ["a"])  # its redelivery
    assert busy.since_last_update(111.0, [("a", 1.25)], []) == 1.25


def test_what_was_counted_too_much_is_held_back_and_never_taken_away() -> None:
    busy = BusySeconds()
    busy.since_last_update(100.0, [], ["a"])
    assert busy.since_last_update(102.0, [], ["a"]) == 2
    assert busy.since_last_update(102.5, [("a", 1.5)], []) == 0
    assert busy.since_last_update(103.0, [("b", 0.25)], []) == 0
    assert busy.since_last_update(103.5, [("c", 0.5)], []) == 0.25


def test_two_deliveries_of_one_message_at_once_count_as_long_as_both_took() -> None:
    busy = BusySeconds()
    grown = [
        busy.since_last_update(100.0, [], ["a", "a"]),
        busy.since_last_update(102.0, [("a", 1.5)], ["a"]),
        busy.since_last_update(104.0, [("a", 3.75)], []),
    ]
    assert sum(grown) == 5.25


def test_the_sum_is_what_the_deliveries_took_at_any_times_of_reading() -> None:
    dice = random.Random(5)
    starts = [dice.uniform(0, 100) for _ in range(300)]
    spans = {str(number): (at, at + dice.expovariate(0.5)) for number, at in enumerate(starts)}
    readings = [*itertools.accumulate((dice.uniform(0.05, 2.0) for _ in range(150)), initial=0.0), 1000.0]
    busy, total, before = BusySeconds(), 0.0, 0.0
    for now in readings:
        reported = [(task, end - start) for task, (start, end) in spans.items() if before < end <= now]
        running = [task for task, (start, end) in spans.items() if start <= now < end + 0.02]  # Celery hears later
        grown = busy.since_last_update(now, reported, running)
        assert grown >= 0
        total, before = total + grown, now
    assert total == pytest.approx(sum(end - start for start, end in spans.values()))
