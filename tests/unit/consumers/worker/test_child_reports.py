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


def test_a_report_arrives_as_it_was_sent(reports: ReportPipe) -> None:
    sent = [
        DeliveryReport(str(uuid4()), step, outcome, event_type, 1.5, 2.25)
        for step in STEPS
        for outcome in DeliveryResult
        for event_type in EVENT_TYPES
    ]
    for one in sent:
        reports.send(one)
    assert list(reports.receive()) == sent
    assert list(reports.receive()) == []


def test_words_of_several_processes_arrive_whole(reports: ReportPipe) -> None:
    children, words = 4, 3000
    report = child_report(DeliveryResult.DONE, effect_seconds=3.0)
    pids = []
    for _ in range(children):
        pid = os.fork()
        if pid == 0:
            for _ in range(words):
                reports.send(report)
            os._exit(0)
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * children
    assert list(reports.receive()) == [report] * (children * words)


def test_a_full_pipe_delays_no_child_and_the_next_report_counts_the_lost_ones(reports: ReportPipe) -> None:
    report, sent = child_report(DeliveryResult.DONE, effect_seconds=3.0), 100_000
    for _ in range(sent):
        reports.send(report)
    arrived = list(reports.receive())
    assert set(arrived) == {report}
    # Linux may grant less than was asked for: a pipe holds whole records, as many as it has room for.
    assert len(arrived) == fcntl.fcntl(reports._write, fcntl.F_GETPIPE_SZ) // 64 < sent
    reports.send(report)
    reports.send(report)
    assert list(reports.receive()) == [replace(report, lost=sent - len(arrived)), report]


def test_an_effect_is_timed_from_the_moment_in_the_orders_id() -> None:
    age = timedelta(seconds=90)
    done = DeliveryReport.of("task", SAP, event(made_at(datetime.now(UTC) - age)), DeliveryResult.DONE, 0.5)
    assert done.effect_seconds == pytest.approx(age.total_seconds(), abs=5)
    assert (done.event_type, done.seconds, done.lost) == ("inventory.reserved", 0.5, 0)


def test_what_is_not_done_has_no_effect_to_time() -> None:
    for outcome in DeliveryResult:
        report = DeliveryReport.of("task", SAP, event(str(new_event_id())), outcome, 0.5)
        assert math.isnan(report.effect_seconds) == (outcome is not DeliveryResult.DONE)


@pytest.mark.parametrize(
    "subject", ["no order", "e456a880-f990-4389-a92c-83def0c2e8a8", "ffffffff-ffff-7fff-bfff-ffffffffffff"]
)
def test_a_subject_without_a_time_gives_none(subject: str) -> None:
    assert math.isnan(accepted_ago(event(subject)))


def test_a_clock_that_runs_behind_makes_no_negative_time() -> None:
    assert accepted_ago(event(made_at(datetime.now(UTC) + timedelta(seconds=60)))) == 0.0
