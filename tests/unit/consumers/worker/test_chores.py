"""Timers of ended tasks leave the heap; the others go off in their order."""

from kombu.asynchronous.timer import Timer

from consumers.worker.chores import drop_cancelled


def test_cancelled_timers_are_dropped_and_the_others_go_off_in_order() -> None:
    timer = Timer()
    went_off: list[int] = []
    entries = [timer.call_after(-1000 + number, went_off.append, (number,)) for number in range(100)]
    coming = iter(timer)  # the worker's loop holds this one while the heap is tidied
    for number, entry in enumerate(entries):
        if number % 10:
            entry.cancel()
    assert drop_cancelled(timer) == 90
    assert drop_cancelled(timer) == 0
    for _ in range(50):
        _, due = next(coming)
        if due is not None:
            due()
    assert went_off == list(range(0, 100, 10))


def test_a_timer_that_comes_after_tidying_goes_off_too() -> None:
    timer = Timer()
    went_off: list[str] = []
    timer.call_after(3600, went_off.append, ("late",)).cancel()
    drop_cancelled(timer)
    timer.call_after(-1, went_off.append, ("soon",))
    _, entry = next(iter(timer))
    assert entry is not None
    entry()
    assert went_off == ["soon"]
