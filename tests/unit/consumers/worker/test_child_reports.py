"""Words come over the pipe whole, from however many children, and a full pipe costs a count and no time."""

import fcntl
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from consumers.delivery.result import DeliveryResult
from consumers.worker.child_reports import DeliveryReport, ReportPipe, accepted_ago
from orders.events import EVENT_TYPES
from orders.workflow import STEPS
from outbox.envelope import Event, lowest_id, new_event_id
from tests.support.builders.child_reports import SAP, child_report


@pytest.fixture
def reports() -> Iterator[ReportPipe]:
    opened = ReportPipe()
    yield opened
    opened.close()


def made_at(moment: datetime) -> str:
    """An order's id from this moment."""
    return str(UUID(int=lowest_id(moment).int | 7 << 76 | 1 << 63))  # version and variant


def event(subject: str) -> Event:
    return Event(new_event_id(), "inventory.reserved", subject, "urn:test", datetime.now(UTC), b"{}")


def test_a_word_arrives_as_it_was_told(reports: ReportPipe) -> None:
    told = [
        DeliveryReport(str(uuid4()), step, outcome, event_type, 1.5, 2.25)
        for step in STEPS
        for outcome in DeliveryResult
        for event_type in EVENT_TYPES
    ]
    for one in told:
        reports.send(one)
    assert list(reports.receive()) == told
    assert list(reports.receive()) == []


def test_words_of_several_processes_arrive_whole(reports: ReportPipe) -> None:
    children, words = 4, 3000
    said = child_report(DeliveryResult.DONE, effect_seconds=3.0)
    pids = []
    for _ in range(children):
        pid = os.fork()
        if pid == 0:
            for _ in range(words):
                reports.send(said)
            os._exit(0)
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * children
    assert list(reports.receive()) == [said] * (children * words)


def test_a_full_pipe_holds_nobody_up_and_the_next_word_says_what_was_lost(reports: ReportPipe) -> None:
    said, told = child_report(DeliveryResult.DONE, effect_seconds=3.0), 100_000
    for _ in range(told):
        reports.send(said)
    arrived = list(reports.receive())
    assert set(arrived) == {said}
    # Linux may grant less than was asked for: a pipe holds whole records, as many as it has room for.
    assert len(arrived) == fcntl.fcntl(reports._write, fcntl.F_GETPIPE_SZ) // 64 < told
    reports.send(said)
    reports.send(said)
    assert list(reports.receive()) == [replace(said, lost=told - len(arrived)), said]


def test_an_effect_is_timed_from_the_moment_in_the_orders_id() -> None:
    age = timedelta(seconds=90)
    done = DeliveryReport.of("task", SAP, event(made_at(datetime.now(UTC) - age)), DeliveryResult.DONE, 0.5)
    assert done.effect_seconds == pytest.approx(age.total_seconds(), abs=5)
    assert (done.event_type, done.seconds, done.lost) == ("inventory.reserved", 0.5, 0)


def test_what_is_not_done_has_no_effect_to_time() -> None:
    for outcome in DeliveryResult:
        said = DeliveryReport.of("task", SAP, event(str(new_event_id())), outcome, 0.5)
        assert math.isnan(said.effect_seconds) == (outcome is not DeliveryResult.DONE)


@pytest.mark.parametrize(
    "subject", ["no order", "e456a880-f990-4389-a92c-83def0c2e8a8", "ffffffff-ffff-7fff-bfff-ffffffffffff"]
)
def test_a_subject_that_tells_no_time_is_not_guessed_at(subject: str) -> None:
    assert math.isnan(accepted_ago(event(subject)))


def test_a_clock_that_runs_behind_makes_no_negative_time() -> None:
    assert accepted_ago(event(made_at(datetime.now(UTC) + timedelta(seconds=60)))) == 0.0
