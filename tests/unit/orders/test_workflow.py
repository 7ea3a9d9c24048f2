"""THE table: closed, unambiguous, and the retry policy within its bounds."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders import workflow
from orders.events import EVENT_TYPES
from orders.workflow import (
    BY_NAME,
    BY_QUEUE,
    POOLS,
    STEPS,
    RetryPolicy,
    Step,
    joined_steps,
    last_steps,
    leaf_steps,
    pool_of,
    rejection_steps,
    required_queues,
    steps_of,
)

FINAL_EVENTS = {"order.completed"}  # nothing follows it; audit alone keeps it
BROKER_CONSUMER_TIMEOUT_SECONDS = 30 * 60
WORKING_STEPS = [step for step in STEPS if step.name != "record_audit"]


def test_every_event_that_a_step_emits_exists_and_is_listened_to_or_final() -> None:
    emitted = {event for step in STEPS for event in step.emits}
    heard = {event for step in WORKING_STEPS for event in step.listens_to}
    assert emitted <= set(EVENT_TYPES)
    assert emitted - heard == FINAL_EVENTS


def test_every_event_that_a_step_listens_to_is_emitted_by_a_step_or_starts_the_flow() -> None:
    emitted = {event for step in STEPS for event in step.emits}
    heard = {event for step in STEPS for event in step.listens_to}
    assert heard - emitted == {"order.placed"}


def test_audit_is_bound_to_every_event_type_by_name() -> None:
    assert set(BY_NAME["record_audit"].listens_to) == set(EVENT_TYPES)
    assert all(event == EVENT_TYPES[event].type for event in EVENT_TYPES)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_step_listens_to_plain_names_and_to_none_twice(step: Step) -> None:
    assert len(set(step.listens_to)) == len(step.listens_to)
    assert not [event for event in step.listens_to if "#" in event or "*" in event]


def test_task_names_and_queues_are_unique() -> None:
    assert len(BY_NAME) == len(STEPS)
    assert len(BY_QUEUE) == len(STEPS)
    assert len({step.dead_letter_queue for step in STEPS} | set(BY_QUEUE)) == 2 * len(STEPS)


def test_the_joined_steps_are_the_ones_that_emit_the_fulfilment() -> None:
    assert joined_steps() == ("send_confirmation_email", "generate_invoice_pdf", "update_analytics")
    assert all("order.synced" in BY_NAME[name].listens_to for name in joined_steps())


def test_a_leaf_step_is_tracked_and_emits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert leaf_steps() == ()
    leaf = Step("notify_warehouse", "warehouse", ("order.synced",), (), "local", 30, 900)
    monkeypatch.setattr(workflow, "STEPS", (*STEPS, leaf))
    assert leaf_steps() == ("notify_warehouse",)


def test_an_order_ends_with_the_step_that_completes_it_or_with_those_that_hear_of_its_rejection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [step.name for step in last_steps()] == ["finalize_order"]
    assert [step.name for step in rejection_steps()] == ["send_confirmation_email"]
    leaf = Step("notify_warehouse", "warehouse", ("order.rejected",), (), "local", 30, 900)
    refund = Step("refund_order", "refund", ("order.rejected",), ("order.refunded",), "local", 30, 900)
    archive = Step("archive_order", "archive", ("order.fulfilled",), ("order.completed",), "local", 30, 900)
    monkeypatch.setattr(workflow, "STEPS", (*STEPS, leaf, refund, archive))
    assert [step.name for step in last_steps()] == ["finalize_order", "archive_order"]
    assert [step.name for step in rejection_steps()] == ["send_confirmation_email", "refund_order"]


def test_every_step_is_in_exactly_one_pool() -> None:
    assert sorted(step.name for pool in POOLS for step in steps_of(pool)) == sorted(BY_NAME)


def test_the_required_queues_are_every_steps_and_the_unrouted_one() -> None:
    assert set(required_queues()) == {*BY_QUEUE, "unrouted"}


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_step_ends_long_before_the_broker_takes_its_message_back(step: Step) -> None:
    assert 0 < step.time_limit_seconds <= BROKER_CONSUMER_TIMEOUT_SECONDS / 10


@given(st.integers(1, 30), st.floats(0.01, 1000), st.floats(0.1, 3600), st.integers())
def test_a_delay_is_drawn_from_zero_to_the_capped_exponential_bound(
    attempt: int, base: float, cap: float, seed: int
) -> None:
    delay = RetryPolicy(cap_seconds=cap).delay_seconds(attempt, base, random.Random(seed))
    assert 0 <= delay <= min(cap, base * 2 ** (attempt - 1))


@pytest.mark.parametrize(("attempt", "bound"), [(1, 1), (2, 2), (3, 4), (5, 16), (10, 512), (11, 600), (60, 600)])
def test_the_jitter_is_full_it_fills_the_whole_range_evenly(attempt: int, bound: float) -> None:
    rng = random.Random(20260301)
    delays = [RetryPolicy().delay_seconds(attempt, 1.0, rng) for _ in range(2000)]
    assert max(delays) <= bound
    assert min(delays) < 0.02 * bound
    assert max(delays) > 0.98 * bound
    assert 0.47 * bound < sum(delays) / len(delays) < 0.53 * bound


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_step_is_tried_six_times_and_sap_five_times(step: Step) -> None:
    attempts = next(attempt for attempt in range(1, 100) if step.retry.is_last(attempt))
    assert attempts == (5 if step.queue == "sap" else 6)
    assert step.retry.cap_seconds == 600
    assert pool_of(step).retry_base == ("sap_retry_base_seconds" if step.queue == "sap" else "retry_base_seconds")


def test_a_step_has_its_deadline_after_that_of_the_step_before_it() -> None:
    deadlines = {kind: step.deadline_seconds for step in STEPS for kind in step.emits if kind != "order.rejected"}
    later = {
        (step.name, kind): step.deadline_seconds > deadlines[kind]
        for step in STEPS
        if step.name != "record_audit"
        for kind in step.listens_to
        if kind in deadlines
    }
    assert {kind for _, kind in later} == set(deadlines) - {"order.completed"}
    assert all(later.values()), later


def test_sap_may_use_all_its_attempts_before_its_deadline() -> None:
    sap = next(step for step in STEPS if step.queue == "sap")
    longest = sum(min(sap.retry.cap_seconds, 20 * 2**attempt) for attempt in range(sap.retry.max_retries))
    assert sap.deadline_seconds > longest + sap.time_limit_seconds
