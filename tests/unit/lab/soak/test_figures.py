"""Flat or growing under a steady load: the figures of a soak."""

import math
from collections.abc import Callable

import pytest

from lab.soak.figures import MESSAGES_PER_ORDER, Sample, fifth, growth, message_backlog, order_backlog, slope

RATE = 10.0
TEN_MINUTES = [10.0 * number for number in range(1, 61)]


def samples(unfinished: Callable[[float], float], memory: Callable[[float], float] = lambda _: 100.0) -> list[Sample]:
    """A sample every ten seconds for ten minutes."""
    return [Sample(at, 0, 0, round(unfinished(at)), {"api": memory(at)}, {"api": 1}) for at in TEN_MINUTES]


def test_the_slope_is_that_of_a_line_and_of_the_line_through_a_cloud() -> None:
    assert slope([(0, 1), (1, 3), (2, 5)]) == 2
    assert slope([(0, 0), (1, 2), (2, 1)]) == pytest.approx(0.5)
    assert slope([(1, 5), (1, 9)]) == 0
    assert slope([(1, 5)]) == 0
    assert slope([]) == 0


def test_a_fifth_of_few_values_is_what_there_is() -> None:
    assert [fifth(range(1, 11), number) for number in (1, 2, 5)] == [1.5, 3.5, 9.5]
    assert fifth([4.0], 2) == 4
    assert fifth([1.0, 3.0], 2) in {1.0, 2.0, 3.0}


def test_a_backlog_that_goes_up_and_down_is_flat() -> None:
    judged = order_backlog(samples(lambda at: 20 + 15 * math.sin(at / 7)), RATE)
    assert judged.flat
    assert judged.first == pytest.approx(20, abs=8)


def test_a_backlog_that_grows_by_more_than_a_hundredth_of_the_orders_sent_is_not_flat() -> None:
    assert order_backlog(samples(lambda at: 20 + 0.009 * RATE * at), RATE).flat
    grown = order_backlog(samples(lambda at: 20 + 0.012 * RATE * at), RATE)
    assert not grown.flat
    assert grown.per_minute == pytest.approx(60 * 0.12, rel=0.02)


def test_a_backlog_that_jumps_late_is_not_flat_though_its_slope_is_small() -> None:
    assert not order_backlog(samples(lambda at: 100 if at > 480 else 20), RATE).flat


def test_a_backlog_that_shrinks_is_flat() -> None:
    assert order_backlog(samples(lambda at: 300 - at / 3), RATE).flat


def test_an_order_that_completes_is_thirteen_messages() -> None:
    assert MESSAGES_PER_ORDER == 13


def test_messages_that_pile_up_while_orders_do_not_are_a_backlog_too() -> None:
    def piled_up(per_second: float) -> list[Sample]:
        return [Sample(at, 3, round(per_second * at), 20, {}, {}) for at in TEN_MINUTES]

    assert message_backlog(piled_up(1.2), RATE).flat
    assert not message_backlog(piled_up(1.5), RATE).flat
    assert order_backlog(piled_up(1.5), RATE).flat


def test_memory_is_judged_once_it_has_settled() -> None:
    (grown,) = growth(samples(lambda _: 0, lambda at: min(at, 230.0)), RATE).values()
    assert (grown.first, grown.last, grown.per_hour) == (230, 230, 0)
    assert grown.flat


def test_a_program_that_grows_after_four_minutes_is_not_settling() -> None:
    (grown,) = growth(samples(lambda _: 0, lambda at: max(at, 240.0)), RATE).values()
    assert grown.first == 240
    assert not grown.flat


def test_a_leak_of_more_than_is_allowed_per_order_is_not_flat() -> None:
    def leaking(bytes_per_order: float) -> bool:
        (grown,) = growth(samples(lambda _: 0, lambda at: 100 + RATE * at * bytes_per_order / 1e6), RATE).values()
        return not grown.flat

    assert not leaking(900)
    assert leaking(6000)


def test_each_process_of_ours_may_grow_a_little_and_others_by_what_they_keep() -> None:
    memory = {"worker-sap": 800.0, "rabbitmq": 100.0}
    seen = [Sample(at, 0, 0, 0, memory, {"worker-sap": 9, "rabbitmq": 5}) for at in TEN_MINUTES]
    grown = growth(seen, RATE)
    assert grown["worker-sap"].allowed_per_hour == 9 * 36
    assert grown["rabbitmq"].allowed_per_hour == 1080


def test_the_last_three_fifths_of_a_short_run_are_shown_and_not_judged() -> None:
    short = samples(lambda _: 0, lambda at: at)[:6]
    (grown,) = growth(short, RATE).values()
    assert (grown.first, grown.last, grown.allowed_per_hour) == (30, 60, None)
    assert grown.per_hour == pytest.approx(3600)
    assert grown.flat


def test_a_program_that_has_ended_is_judged_by_its_samples() -> None:
    seen = samples(lambda _: 0)
    seen[-1] = Sample(600.0, 0, 0, 0, {}, {})
    assert growth(seen, RATE)["api"].flat
