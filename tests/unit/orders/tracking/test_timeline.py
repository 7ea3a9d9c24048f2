"""An order's timeline is in order of time, with its gaps, causes before consequences, and remarks on lost facts."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

from orders.model import Attempt, AttemptEnd, RejectReason, Status, StepProgress, StepState
from orders.tracking.timeline import AttemptOutcome, EntryKind, Timeline
from outbox.cursor.message_tracking import Message, ScheduledMessage
from outbox.dead_letters.queries import Action
from tests.support.builders.timeline_facts import (
    HEARD,
    SAP,
    WORKER,
    an_order,
    at,
    dead_letter,
    entries_of,
    message,
    timeline_with,
)


def attempt(number: int, began: float, ended: float | None, end: AttemptEnd | None = None, **more: Any) -> Attempt:
    facts: dict[str, Any] = {
        "generation": number,
        "claim": 1,
        "attempt": number,
        "worker": WORKER,
        "error": None,
        **more,
    }
    ended_at = None if ended is None else at(ended)
    return Attempt(SAP, HEARD, started_at=at(began), ended_at=ended_at, end=end, **facts)


def running(state: StepState = StepState.RUNNING, number: int = 1) -> list[tuple[str, StepProgress]]:
    before = [("validate_order", "order.placed"), ("reserve_inventory", "order.validated")]
    done = [(kind, StepProgress(step, StepState.DONE, 1)) for step, kind in before]
    return [*done, (HEARD, StepProgress(SAP, state, number, next_attempt_at=at(1000)))]


def brief(timeline: Timeline) -> list[tuple[EntryKind, str | None, float | None]]:
    return [(entry.what, entry.event or entry.step, entry.gap_ms) for entry in timeline.entries]


def test_a_new_order_is_accepted_and_committed_and_waits_in_the_outbox() -> None:
    timeline = timeline_with(messages=[message(4.5)])
    assert brief(timeline) == [(EntryKind.ACCEPTED, None, None), (EntryKind.COMMITTED, "order.placed", 4.5)]
    (pending,) = timeline.waits_for
    assert (pending.step.queue, pending.text) == ("validation", "not begun: its event waits in the outbox")
    assert timeline.remarks == ()


def test_events_and_attempts_are_shown_in_order_of_time_with_the_gaps_between() -> None:
    timeline = timeline_with(
        messages=[message(20, 31.5, 40, type="order.validated"), message(5, 12, 15)],
        attempts=[
            Attempt("validate_order", "order.placed", 1, 0, 1, "w@h/1", at(14), at(20.25), AttemptEnd.DONE),
        ],
    )
    assert brief(timeline) == [
        (EntryKind.ACCEPTED, None, None),
        (EntryKind.COMMITTED, "order.placed", 5),
        (EntryKind.PUBLISHED, "order.placed", 7),
        (EntryKind.ATTEMPT, "order.placed", 2),
        (EntryKind.CONFIRMED, "order.placed", 1),
        (EntryKind.COMMITTED, "order.validated", 5),
        (EntryKind.PUBLISHED, "order.validated", 11.5),
        (EntryKind.CONFIRMED, "order.validated", 8.5),
    ]
    (attempted,) = entries_of(timeline, EntryKind.ATTEMPT)
    assert (attempted.step, attempted.worker, attempted.attempt) == ("validate_order", "w@h/1", 1)
    assert (attempted.outcome, attempted.duration_ms, attempted.ended_at) == (AttemptOutcome.DONE, 6.25, at(20.25))


def test_where_clocks_differ_no_event_is_published_before_it_is_committed() -> None:
    timeline = timeline_with(order=an_order(), messages=[message(5, 3, 4)])
    assert [entry.at for entry in timeline.entries] == [at(0), at(5), at(5), at(5)]
    assert [entry.what for entry in timeline.entries] == [
        EntryKind.ACCEPTED,
        EntryKind.COMMITTED,
        EntryKind.PUBLISHED,
        EntryKind.CONFIRMED,
    ]


def test_every_attempt_is_shown_with_its_error_and_how_it_ended() -> None:
    timeline = timeline_with(
        steps=running(StepState.DONE),
        attempts=[
            attempt(1, 100, 220, AttemptEnd.RETRIED, error="SapUnavailable: 503"),
            attempt(2, 900, 910, AttemptEnd.AWAY, error="SapUnavailable: no answer"),
            attempt(3, 2000, 2100, AttemptEnd.DONE, attempt=2),
        ],
    )
    attempts = entries_of(timeline, EntryKind.ATTEMPT)
    assert [(one.attempt, one.outcome, one.duration_ms, one.error) for one in attempts] == [
        (1, AttemptOutcome.RETRIED, 120, "SapUnavailable: 503"),
        (2, AttemptOutcome.AWAY, 10, "SapUnavailable: no answer"),
        (2, AttemptOutcome.DONE, 100, None),
    ]


def test_an_attempt_without_an_end_runs_if_it_is_the_last_and_has_a_lease_that_is_not_over() -> None:
    lost, last = attempt(1, 100, None), attempt(1, 5000, None, claim=2)
    for leases, outcome in (
        ({"sap": at(61_000)}, AttemptOutcome.RUNNING),
        ({"sap": at(59_000)}, AttemptOutcome.LOST),
        ({}, AttemptOutcome.LOST),
    ):
        timeline = timeline_with(steps=running(), attempts=[lost, last], leases=leases)
        assert [one.outcome for one in entries_of(timeline, EntryKind.ATTEMPT)] == [AttemptOutcome.LOST, outcome]
        assert all(one.duration_ms is None for one in entries_of(timeline, EntryKind.ATTEMPT))


def test_an_attempt_whose_step_has_ended_otherwise_was_lost() -> None:
    timeline = timeline_with(steps=running(StepState.DEAD), attempts=[attempt(1, 100, None)])
    assert [one.outcome for one in entries_of(timeline, EntryKind.ATTEMPT)] == [AttemptOutcome.LOST]


def test_what_runs_says_until_when_its_lease_is() -> None:
    (pending,) = timeline_with(steps=running(), leases={"sap": at(65_000)}).waits_for
    assert pending.text == "running in sap, attempt 1, its lease ends 12:01:05"


def test_dead_letters_are_shown_with_the_actions_on_them() -> None:
    actions = [
        Action("discard", "anna", "hopeless", None, None, at(700)),
        Action("restore", "ben", "not so", None, None, at(800)),
        Action("replay", "ben", "mended", 2, at(9000), at(900)),
    ]
    timeline = timeline_with(dead_letters=[dead_letter()], actions={17: actions})
    died, *done = timeline.entries[1:]
    assert (died.what, died.dead_letter, died.queue) == (EntryKind.DEAD_LETTER, 17, "sap")
    assert (died.why, died.error) == ("rejected", "400: no")
    assert [(one.what, one.dead_letter, one.actor, one.why, one.generation, one.due_at) for one in done] == [
        (EntryKind.DISCARDED, 17, "anna", "hopeless", None, None),
        (EntryKind.RESTORED, 17, "ben", "not so", None, None),
        (EntryKind.REPLAYED, 17, "ben", "mended", 2, at(9000)),
    ]


def test_a_discarded_dead_letter_is_what_its_order_waits_for() -> None:
    (pending,) = timeline_with(steps=running(StepState.DEAD), dead_letters=[dead_letter(state="discarded")]).waits_for
    assert pending.text == "dead letter 17 in sap was discarded, last error 400: no"


def test_a_message_for_one_queue_shows_which_and_its_generation() -> None:
    waiting = ScheduledMessage(uuid4(), HEARD, "sap", 3, at(70_000))
    timeline = timeline_with(
        messages=[message(900, 905, 910, type=HEARD, destination="sap", generation=2)],
        steps=running(StepState.DEAD),
        dead_letters=[dead_letter(state="replayed")],
        waiting=[waiting],
    )
    assert [
        (one.queue, one.generation) for one in timeline.entries if one.event == HEARD and one.dead_letter is None
    ] == [("sap", 2)] * 3
    (pending,) = timeline.waits_for
    assert pending.text == "dead letter 17 in sap is replayed: its event is due 12:01:10"


def test_what_is_sent_to_all_again_later_is_waited_for_until_then() -> None:
    aside = message(5, 12, 15)
    replayed = dead_letter(
        state="replayed", queue="orders.events", type="order.placed", reason="unpublishable", event_id=aside.event_id
    )
    waiting = [ScheduledMessage(aside.event_id, "order.placed", None, 2, at(due)) for due in (3_600_000, 7_200_000)]
    (pending,) = timeline_with(messages=[aside], dead_letters=[replayed], waiting=waiting).waits_for
    assert (pending.step.queue, pending.text) == ("validation", "not begun: its event is due 13:00:00")


def test_an_order_ends_completed_or_rejected_with_its_reasons() -> None:
    timeline = timeline_with(order=an_order(Status.COMPLETED, at(700)))
    assert (timeline.entries[-1].what, timeline.entries[-1].at, timeline.waits_for) == (
        EntryKind.COMPLETED,
        at(700),
        (),
    )
    reason = RejectReason("unknown-sku", "We do not sell SKU-1.", "SKU-1")
    timeline = timeline_with(order=an_order(Status.REJECTED, at(700), reason))
    assert (timeline.entries[-1].what, timeline.entries[-1].why) == (EntryKind.REJECTED, "We do not sell SKU-1.")
    assert [pending.step.queue for pending in timeline.waits_for] == ["email"]


def test_a_publish_whose_page_is_forgotten_is_shown_and_nothing_waits_for_it() -> None:
    timeline = timeline_with(messages=[message(5, published=True), message(6, published=True)])
    assert entries_of(timeline, EntryKind.PUBLISHED) == []
    assert timeline.waits_for[0].text == "not begun: its event is in queue validation"
    assert timeline.remarks == ("2 events were published at a time that the cursor's log does not remember any more",)


def test_steps_that_were_done_before_attempts_were_kept_are_done_all_the_same() -> None:
    done = StepProgress("validate_order", StepState.DONE, 2, finished_at=at(50))
    timeline = timeline_with(steps=[("order.placed", done)])
    (entry,) = entries_of(timeline, EntryKind.DONE)
    assert (entry.step, entry.attempt, entry.at) == ("validate_order", 2, at(50))
    assert timeline.remarks == ("attempts at its steps that were made before attempts were kept are not shown",)


def test_a_step_that_left_the_table_is_shown_and_not_waited_for() -> None:
    gone = Attempt("fax_order", HEARD, 1, 1, 1, WORKER, at(10), None)
    progress = StepProgress("fax_order", StepState.RUNNING, 1)
    timeline = timeline_with(attempts=[gone], steps=[(HEARD, progress)])
    assert [one.step for one in entries_of(timeline, EntryKind.ATTEMPT)] == ["fax_order"]
    assert [pending.step.queue for pending in timeline.waits_for] == ["validation"]


def test_no_event_is_published_after_an_attempt_at_it() -> None:
    """The relay's clock is ahead. A later generation of the event, and another queue's, are messages of their own."""
    attempted = [
        attempt(1, 30, 40, AttemptEnd.RETRIED),
        attempt(2, 130, 140, AttemptEnd.DONE),
        Attempt("send_confirmation_email", HEARD, 1, 1, 1, WORKER, at(25), at(26), AttemptEnd.DONE),
    ]
    for destination, published in ((None, 25), ("sap", 30), ("invoice", 5000)):
        timeline = timeline_with(
            messages=[message(5, 5000, 5010, type=HEARD, destination=destination)], attempts=attempted
        )
        assert [one.at for one in entries_of(timeline, EntryKind.PUBLISHED)] == [at(published)]
        assert [one.at for one in entries_of(timeline, EntryKind.CONFIRMED)] == [at(5010)]
    again = timeline_with(
        messages=[message(100, 5000, 5010, type=HEARD, destination="sap", generation=2)], attempts=attempted
    )
    assert [one.at for one in entries_of(again, EntryKind.PUBLISHED)] == [at(130)]


def test_what_came_back_after_a_lease_is_published_when_it_was_and_not_when_the_first_attempt_began() -> None:
    lost, done = attempt(1, 100, None), attempt(1, 180_100, 180_300, AttemptEnd.DONE, claim=2)
    again = message(120_000, 180_000, 180_010, type=HEARD, destination="sap")
    timeline = timeline_with(now=at(200_000), messages=[message(20, 30, 40, type=HEARD), again], attempts=[lost, done])
    assert [one.at for one in entries_of(timeline, EntryKind.PUBLISHED)] == [at(30), at(180_000)]
    again = replace(again, sent_at=at(190_000))  # the relay's clock is ahead
    timeline = timeline_with(now=at(200_000), messages=[again], attempts=[lost, done])
    assert [one.at for one in entries_of(timeline, EntryKind.PUBLISHED)] == [at(180_100)]


def test_a_replay_comes_before_the_message_that_it_recorded() -> None:
    dead = dead_letter()
    sent = Message(dead.event_id or uuid4(), HEARD, "sap", 2, at(898))
    elsewhere = Message(sent.event_id, HEARD, "email", 2, at(600))
    replay = Action("replay", "ben", "mended", 2, None, at(900))
    for recorded, order in (
        ([sent, elsewhere], [EntryKind.DEAD_LETTER, EntryKind.COMMITTED, EntryKind.REPLAYED, EntryKind.COMMITTED]),
        ([], [EntryKind.DEAD_LETTER, EntryKind.REPLAYED]),
    ):
        timeline = timeline_with(dead_letters=[dead], actions={17: [replay]}, messages=recorded)
        assert [one.what for one in timeline.entries[1:]] == order
    assert [one.at for one in entries_of(timeline, EntryKind.REPLAYED)] == [at(900)]


def test_a_message_that_the_relay_dead_lettered_was_neither_published_nor_confirmed() -> None:
    aside, other = message(5, 12, 15), message(6, 13, 16, destination="sap", type=HEARD)
    unpublishable: dict[str, Any] = {"queue": "orders.events", "type": "order.placed", "reason": "unpublishable"}
    for facts, published in (
        ({**unpublishable, "event_id": aside.event_id}, [HEARD]),
        ({**unpublishable, "event_id": aside.event_id, "generation": 2}, ["order.placed", HEARD]),
        ({**unpublishable, "event_id": aside.event_id, "reason": "unrouted"}, ["order.placed", HEARD]),
        ({**unpublishable, "event_id": other.event_id}, ["order.placed", HEARD]),
    ):
        timeline = timeline_with(messages=[aside, other], dead_letters=[dead_letter(**facts)])
        assert [one.event for one in entries_of(timeline, EntryKind.PUBLISHED)] == published
        assert [one.event for one in entries_of(timeline, EntryKind.CONFIRMED)] == published


def test_a_discarded_event_of_the_relay_is_the_end_also_before_the_cursor_advances_past_it() -> None:
    aside = message(5)
    discarded = dead_letter(
        state="discarded",
        queue="orders.events",
        type="order.placed",
        event_id=aside.event_id,
        reason="unpublishable",
    )
    (pending,) = timeline_with(messages=[aside], dead_letters=[discarded]).waits_for
    assert pending.text == "dead letter 17 in orders.events was discarded, last error 400: no"


def test_a_replay_that_died_again_says_that_its_dead_letter_is_not_collected() -> None:
    died = [attempt(1, 100, 200, AttemptEnd.DEAD), attempt(2, 900, 950, AttemptEnd.DEAD, attempt=1)]
    for attempts, expected in (
        (died, "dead-lettered in sap after attempt 1, its dead letter is not collected yet"),
        (died[:1], "dead letter 17 in sap is replayed: its event is in queue sap"),
    ):
        (pending,) = timeline_with(
            steps=running(StepState.DEAD), dead_letters=[dead_letter(state="replayed")], attempts=attempts
        ).waits_for
        assert pending.text == expected


def test_a_discarded_dead_letter_of_a_generation_before_the_next_one_is_not_the_end() -> None:
    facts = {"steps": running(StepState.RETRYING, 2), "dead_letters": [dead_letter(state="discarded")]}
    (pending,) = timeline_with(**facts, attempts=[attempt(1, 100, 200, AttemptEnd.RETRIED)]).waits_for
    assert pending.text == "waiting in sap, attempt 2, due since 12:00:01: its event is in queue sap"
    (pending,) = timeline_with(**facts, attempts=[attempt(1, 100, None)]).waits_for
    assert "was discarded" in pending.text


def test_an_attempt_shows_its_number_and_its_generation() -> None:
    (attempted,) = entries_of(
        timeline_with(attempts=[attempt(4, 100, 200, AttemptEnd.DONE, attempt=1)]), EntryKind.ATTEMPT
    )
    assert (attempted.attempt, attempted.generation) == (1, 4)
    (recorded,) = entries_of(timeline_with(messages=[message(5, generation=4)]), EntryKind.COMMITTED)
    assert (recorded.attempt, recorded.generation) == (None, 4)


def test_attempts_that_were_not_kept_are_named_in_a_remark() -> None:
    remark = ("attempts at its steps that were made before attempts were kept are not shown",)
    retrying = running(StepState.RETRYING)[2:]
    assert timeline_with(steps=retrying).remarks == remark
    assert (
        timeline_with(steps=retrying, attempts=[attempt(3, 100, 200, AttemptEnd.RETRIED, attempt=3)]).remarks == remark
    )
    # After an outage, or a replay of a message that no step saw, the first attempt is of a later generation.
    assert timeline_with(steps=retrying, attempts=[attempt(3, 100, 200, AttemptEnd.RETRIED, attempt=1)]).remarks == ()
    assert timeline_with(steps=running(StepState.PENDING)[2:]).remarks == ()
