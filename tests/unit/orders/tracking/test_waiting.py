"""An order is blocked by the first step on its way that is not done; the text has the facts to act on it."""

from datetime import UTC, datetime, timedelta

import pytest

from orders import workflow
from orders.model import Status, StepProgress, StepState
from orders.tracking.progress import REJECTED, OrderDeadLetter, OrderProgress
from orders.tracking.waiting import blocking_step, path_to, waits_for
from orders.workflow import BY_NAME, BY_QUEUE, STEPS, Step

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SOON = NOW + timedelta(minutes=4, seconds=10)
HEARD = {
    "validation": "order.placed",
    "inventory": "order.validated",
    "sap": "inventory.reserved",
    "email": "order.synced",
    "invoice": "order.synced",
    "analytics": "order.synced",
    "finalization": "order.fulfilled",
}
DUE: dict[tuple[str, str | None], datetime] = {("inventory.reserved", "sap"): SOON}


def blocked_by(queue: str, *done: str, **progress: object) -> str:
    """What blocks the step of a queue when those other queues are done."""
    steps = {(one, HEARD[one]): at(one, StepState.DONE) for one in done} | progress.pop("steps", {})  # type: ignore[operator]
    return blocking_step(BY_QUEUE[queue], HEARD[queue], OrderProgress(steps, **progress), NOW)  # type: ignore[arg-type]


def at(
    queue: str, state: StepState, attempt: int = 1, error: str | None = None, next_attempt_at: datetime | None = None
) -> StepProgress:
    return StepProgress(BY_QUEUE[queue].name, state, attempt, error, next_attempt_at)


def in_sap(state: StepState, *values: object) -> dict[tuple[str, str], StepProgress]:
    return {("sap", HEARD["sap"]): at("sap", state, *values)}  # type: ignore[arg-type]


def dead_letter(
    state: str,
    queue: str = "sap",
    kind: str | None = "inventory.reserved",
    number: int = 17,
    generation: int | None = None,
) -> OrderDeadLetter:
    return OrderDeadLetter(number, state, queue, kind, "rejected", "SapRefused:\n no", generation)


@pytest.mark.parametrize("queue", HEARD)
def test_the_path_to_a_step_follows_the_events_that_it_waits_for(queue: str) -> None:
    path = [before.queue for before, _ in path_to(BY_QUEUE[queue], HEARD[queue])]
    line, joined = ["validation", "inventory", "sap"], ["email", "invoice", "analytics"]
    if queue in line:
        assert path == line[: line.index(queue) + 1]
    elif queue in joined:
        assert path == [*line, queue]
    else:
        assert path == [*line, *joined, "finalization"]


def test_what_was_rejected_waits_for_nothing_but_the_dead_letter_about_it() -> None:
    assert path_to(BY_QUEUE["email"], REJECTED) == [(BY_QUEUE["email"], REJECTED)]


def test_a_retry_says_its_attempt_its_time_and_its_last_error() -> None:
    waiting = in_sap(StepState.RETRYING, 3, "SapUnavailable: no\nanswer", SOON)
    expected = "waiting in sap, attempt 3, next attempt 12:04:10, last error SapUnavailable: no answer"
    assert blocked_by("sap", "validation", "inventory", steps=waiting) == expected
    assert blocked_by("invoice", "validation", "inventory", steps=waiting) == f"waits for sap: {expected}"


def test_a_time_on_another_day_says_its_day() -> None:
    waiting = in_sap(StepState.RETRYING, 3, None, NOW + timedelta(days=1))
    assert blocked_by("sap", "validation", "inventory", steps=waiting).endswith("next attempt 2026-03-02 12:00:00")


def test_an_attempt_that_is_due_shows_where_its_event_is_and_no_next_attempt_in_the_past() -> None:
    past = NOW - timedelta(minutes=5)
    waiting = in_sap(StepState.RETRYING, 3, "SapUnavailable: no answer", past)
    expected = "waiting in sap, attempt 3, due since 11:55:00: {}, last error SapUnavailable: no answer"
    for progress, where in (
        ({"due": {(HEARD["sap"], "sap"): past}}, "its event is due, the relay has not moved it"),
        ({"unread": {("inventory.reserved", "sap")}}, "its event waits in the outbox"),
        ({}, "its event is in queue sap"),
    ):
        assert blocked_by("sap", "validation", "inventory", steps=waiting, **progress) == expected.format(where)


def test_what_runs_says_when_its_lease_ends_or_that_its_worker_is_gone() -> None:
    running = in_sap(StepState.RUNNING, 2)
    held = blocked_by("sap", "validation", "inventory", steps=running, leases={"sap": SOON})
    assert held == "running in sap, attempt 2, its lease ends 12:04:10"
    over = blocked_by("sap", "validation", "inventory", steps=running, leases={"sap": NOW - timedelta(minutes=5)})
    assert over == (
        "running in sap, attempt 2, its lease ran out 11:55:00: its worker is gone, the next delivery takes it"
    )


def test_an_order_waits_for_every_step_whose_turn_it_is() -> None:
    done = {(one, HEARD[one]): at(one, StepState.DONE) for one in ("validation", "inventory", "sap", "invoice")}
    dead = {("email", HEARD["email"]): at("email", StepState.DEAD, 6)}
    progress = OrderProgress(done | dead, dead_letters=[dead_letter("open", "email", "order.synced")])
    waiting = waits_for(Status.SYNCED, progress, NOW)
    assert [(one.step.queue, one.event_type) for one in waiting] == [
        ("email", "order.synced"),
        ("analytics", "order.synced"),
    ]
    assert waiting[0].text.startswith("dead letter 17 in email")


def test_an_order_that_is_at_its_end_waits_for_nothing_and_a_rejected_one_for_its_dead_letter() -> None:
    assert waits_for(Status.COMPLETED, OrderProgress(), NOW) == []
    (pending,) = waits_for(Status.REJECTED, OrderProgress(), NOW)
    assert (pending.step.queue, pending.text) == ("email", "not begun: its event is in queue email")
    notified = OrderProgress({("email", REJECTED): at("email", StepState.DONE)})
    assert waits_for(Status.REJECTED, notified, NOW) == []


def test_an_order_waits_for_each_step_that_the_table_puts_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Step("archive_order", "archive", ("order.fulfilled",), ("order.completed",), "local", 30, 960)
    refund = Step("refund_order", "refund", ("order.rejected",), ("order.refunded",), "local", 30, 960)
    monkeypatch.setattr(workflow, "STEPS", (*STEPS, archive, refund))
    done = OrderProgress(_done("validation", "inventory", "sap", "email", "invoice", "analytics"))
    waiting = waits_for(Status.FULFILLED, done, NOW)
    assert [one.step.queue for one in waiting] == ["finalization", "archive"]
    rejected = waits_for(Status.REJECTED, OrderProgress(), NOW)
    assert [(one.step.queue, one.event_type) for one in rejected] == [("email", REJECTED), ("refund", REJECTED)]


def test_a_long_error_is_cut() -> None:
    waiting = in_sap(StepState.RETRYING, 3, "x" * 5000)
    assert len(blocked_by("sap", "validation", "inventory", steps=waiting)) < 300


def test_what_runs_says_so() -> None:
    running = in_sap(StepState.RUNNING, 2)
    assert blocked_by("sap", "validation", "inventory", steps=running) == "running in sap, attempt 2"


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        ({"unread": {("inventory.reserved", None)}}, "its event waits in the outbox"),
        ({"unread": {("inventory.reserved", "sap")}}, "its event waits in the outbox"),
        ({"unread": {("inventory.reserved", "email")}}, "its event is in queue sap"),
        ({"unread": {("order.placed", None)}}, "its event is in queue sap"),
        ({"due": DUE}, "its event is due 12:04:10"),
        ({"due": {("inventory.reserved", None): SOON}}, "its event is due 12:04:10"),
        ({"due": {("inventory.reserved", None): NOW + timedelta(hours=1), **DUE}}, "its event is due 12:04:10"),
        ({"due": {("order.placed", None): SOON, ("order.rejected", "sap"): SOON}}, "its event is in queue sap"),
        ({}, "its event is in queue sap"),
    ],
)
def test_a_step_that_has_not_started_says_where_its_event_is(progress: dict[str, object], expected: str) -> None:
    assert blocked_by("sap", "validation", "inventory", **progress) == f"not begun: {expected}"


def test_a_dead_lettered_step_names_its_open_dead_letter() -> None:
    dead = in_sap(StepState.DEAD, 6, "SapRefused: no")
    dead_letters = [
        dead_letter("replayed", number=16),
        dead_letter("open"),
        dead_letter("open", queue="email", number=99),
    ]
    expected = "dead letter 17 in sap is open (rejected), last error SapRefused: no"
    assert blocked_by("sap", "validation", "inventory", steps=dead, dead_letters=dead_letters) == expected


@pytest.mark.parametrize(
    ("dead_letters", "progress", "expected"),
    [
        (
            [],
            {},
            "dead-lettered in sap after attempt 6, its dead letter is not collected yet, last error SapRefused: no",
        ),
        ([dead_letter("discarded")], {}, "dead letter 17 in sap was discarded, last error SapRefused: no"),
        (
            [dead_letter("replayed")],
            {"due": DUE},
            "dead letter 17 in sap is replayed: its event is due 12:04:10",
        ),
        ([dead_letter("replayed")], {}, "dead letter 17 in sap is replayed: its event is in queue sap"),
    ],
)
def test_a_dead_lettered_step_shows_the_state_of_its_dead_letter(
    dead_letters: list[OrderDeadLetter], progress: dict[str, object], expected: str
) -> None:
    dead = in_sap(StepState.DEAD, 6, "SapRefused: no")
    assert blocked_by("sap", "validation", "inventory", steps=dead, dead_letters=dead_letters, **progress) == expected


def test_an_event_that_the_relay_could_not_publish_is_dead_lettered_too() -> None:
    unpublishable = dead_letter("open", queue="orders.events")
    assert blocked_by("sap", "validation", "inventory", dead_letters=[unpublishable]).startswith(
        "dead letter 17 in orders.events"
    )


def test_another_steps_dead_letter_is_not_this_ones() -> None:
    other = dead_letter("open", queue="email", kind="order.synced")
    assert blocked_by("sap", "validation", "inventory", dead_letters=[other]) == "not begun: its event is in queue sap"


LIVE = {"leases": {"sap": SOON}}
DISCARDED = "dead letter 17 in sap was discarded, last error SapRefused: no"
NOT_DONE = [None, StepState.PENDING, StepState.RUNNING, StepState.RETRYING, StepState.DEAD]


@pytest.mark.parametrize("state", NOT_DONE)
@pytest.mark.parametrize("leases", [None, {}, {"sap": NOW - timedelta(minutes=5)}])
def test_a_discarded_dead_letter_is_the_end_for_any_state_of_its_steps_row(
    state: StepState | None, leases: dict[str, datetime] | None
) -> None:
    steps = {} if state is None else in_sap(state)
    discarded = [dead_letter("discarded")]
    text = blocked_by("sap", "validation", "inventory", steps=steps, dead_letters=discarded, leases=leases)
    assert text == DISCARDED


@pytest.mark.parametrize("state", [None, StepState.PENDING, StepState.RUNNING, StepState.RETRYING])
@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        ({"due": DUE}, "its event is due 12:04:10"),
        ({"due": {("inventory.reserved", None): SOON}}, "its event is due 12:04:10"),
        ({"unread": {("inventory.reserved", "sap")}}, "its event waits in the outbox"),
        ({"unread": {("inventory.reserved", None)}}, "its event waits in the outbox"),
        ({"generations": {("sap", "inventory.reserved"): 3}}, "its event is in queue sap"),
        (LIVE, ""),
    ],
)
def test_a_discarded_dead_letter_is_not_the_end_while_something_of_its_step_is_on_its_way(
    state: StepState | None, progress: dict[str, object], expected: str
) -> None:
    steps = {} if state is None else in_sap(state, 2, None, NOW)
    discarded = dead_letter("discarded", generation=2)
    facts = {"steps": steps, "dead_letters": [discarded], "leases": {}, **progress}
    text = blocked_by("sap", "validation", "inventory", **facts)
    assert "discarded" not in text
    assert ("replayed" in text, expected in text) == (False, True)


def test_what_says_that_it_runs_and_has_no_lease_is_lost_and_its_event_on_its_way() -> None:
    running = in_sap(StepState.RUNNING, 2)
    waits = {"unread": {("inventory.reserved", "sap")}, "leases": {}}
    assert blocked_by("sap", "validation", "inventory", steps=running, **waits) == (
        "attempt 2 in sap never ended: its event waits in the outbox"
    )
    replayed = blocked_by(
        "sap", "validation", "inventory", steps=running, dead_letters=[dead_letter("replayed")], **waits
    )
    assert replayed == "dead letter 17 in sap is replayed: its event waits in the outbox"


@pytest.mark.parametrize("state", ["replayed", "discarded"])
def test_a_replay_that_died_again_waits_for_its_dead_letter_to_be_collected(state: str) -> None:
    dead = in_sap(StepState.DEAD, 1, "SapRefused: no")
    dead_letters = [dead_letter(state, generation=2)]
    texts = {
        died: blocked_by(
            "sap",
            "validation",
            "inventory",
            steps=dead,
            dead_letters=dead_letters,
            generations={("sap", "inventory.reserved"): died},
        )
        for died in (2, 3)
    }
    uncollected = (
        "dead-lettered in sap after attempt 1, its dead letter is not collected yet, last error SapRefused: no"
    )
    assert texts[3] == uncollected
    assert texts[2] == (
        DISCARDED if state == "discarded" else "dead letter 17 in sap is replayed: its event is in queue sap"
    )


def test_an_event_that_the_audit_dead_lettered_waits_for_a_person_also_of_an_order_at_its_end() -> None:
    died = [dead_letter("open", "audit", "order.placed"), dead_letter("discarded", "audit", "order.synced", 18)]
    (pending,) = waits_for(Status.COMPLETED, OrderProgress(dead_letters=died), NOW)
    assert (pending.step.name, pending.event_type) == ("record_audit", "order.placed")
    assert pending.text == "dead letter 17 in audit is open (rejected), last error SapRefused: no"


WAREHOUSE = Step("notify_warehouse", "warehouse", ("order.synced", "order.validated"), (), "local", 30, 900)


@pytest.fixture
def leaf(monkeypatch: pytest.MonkeyPatch) -> Step:
    """A leaf step in the table: it emits nothing, and no other step waits for it."""
    monkeypatch.setattr(workflow, "STEPS", (*STEPS, WAREHOUSE))
    monkeypatch.setitem(BY_QUEUE, WAREHOUSE.queue, WAREHOUSE)
    monkeypatch.setitem(BY_NAME, WAREHOUSE.name, WAREHOUSE)
    return WAREHOUSE


def _done(*queues: str) -> dict[tuple[str, str], StepProgress]:
    return {(one, HEARD[one]): at(one, StepState.DONE) for one in queues}


def test_an_order_waits_for_each_leaf_step_that_its_events_reach(leaf: Step) -> None:
    progress = OrderProgress(_done("validation", "inventory"), leaf_steps={leaf.name})
    assert [(one.step.queue, one.event_type) for one in waits_for(Status.RESERVED, progress, NOW)] == [
        ("sap", "inventory.reserved"),
        ("warehouse", "order.validated"),
    ]


def test_a_completed_order_still_waits_for_its_leaf_step(leaf: Step) -> None:
    failed = StepProgress(leaf.name, StepState.DONE, 1)
    progress = OrderProgress({**_done(*HEARD), ("warehouse", "order.validated"): failed}, leaf_steps={leaf.name})
    (pending,) = waits_for(Status.COMPLETED, progress, NOW)
    assert (pending.step, pending.event_type) == (leaf, "order.synced")
    assert pending.text == "not begun: its event is in queue warehouse"


def test_a_rejected_order_waits_for_a_leaf_step_only_for_the_events_that_it_had(leaf: Step) -> None:
    notified = {("email", REJECTED): at("email", StepState.DONE)}
    assert (
        waits_for(Status.REJECTED, OrderProgress({**notified, **_done("validation")}, leaf_steps={leaf.name}), NOW)
        == []
    )
    reserving = OrderProgress({**notified, **_done("validation", "inventory")}, leaf_steps={leaf.name})
    assert [one.event_type for one in waits_for(Status.REJECTED, reserving, NOW)] == ["order.validated"]


def test_an_order_placed_before_a_leaf_step_joined_does_not_wait_for_it(leaf: Step) -> None:
    assert waits_for(Status.COMPLETED, OrderProgress(_done(*HEARD)), NOW) == []


def test_an_order_placed_before_a_step_joined_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    joined = Step("notify_warehouse", "warehouse", ("order.synced",), ("order.fulfilled",), "local", 30, 900)
    done = _done("validation", "inventory", "sap", "email", "invoice")
    before = OrderProgress(done)
    monkeypatch.setattr(workflow, "STEPS", (*STEPS[:-2], joined, *STEPS[-2:]))
    assert [one.step.queue for one in waits_for(Status.SYNCED, before, NOW)] == ["analytics"]
    assert [one.step.queue for one in waits_for(Status.SYNCED, OrderProgress(done), NOW)] == ["analytics", "warehouse"]
