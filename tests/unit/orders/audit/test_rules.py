"""What an order owes, and what counts as there, missing, late or twice."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from orders import workflow
from orders.audit.rules import (
    STEP_OF,
    Discrepancies,
    DuplicateEffect,
    Effect,
    ObservedEffects,
    OrderRecord,
    OrphanEffect,
    Stock,
    find_discrepancies,
    owed,
)
from orders.model import Status, StepProgress, StepState
from orders.tracking.progress import OrderProgress
from orders.workflow import STEPS, Step
from outbox.envelope import new_event_id

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
EMAIL = new_event_id()
COMPLETED = OrderRecord(
    id=ID,
    number="WB-1",
    status=Status.COMPLETED,
    placed_at=NOW - timedelta(hours=1),
    sap_document="1000001",
    invoice="2026-000001",
    document="invoices/2026-000001.pdf",
    mails=(EMAIL,),
    counted=1,
)
PLACED = OrderRecord(
    id=ID, number="WB-1", status=Status.PENDING, placed_at=NOW - timedelta(hours=1), stock=(Stock("SKU-1", 2, 0),)
)
REJECTED = OrderRecord(id=ID, number="WB-1", status=Status.REJECTED, placed_at=PLACED.placed_at, mails=(EMAIL,))
CLEAN = Discrepancies([], [], [])


@pytest.mark.parametrize("status", Status)
def test_every_order_owes_everything_but_a_rejected_one_the_email_alone(status: Status) -> None:
    assert owed(status) == ({Effect.EMAIL} if status is Status.REJECTED else set(Effect))


@pytest.mark.parametrize("order", [COMPLETED, REJECTED], ids=["completed", "rejected"])
def test_an_order_that_has_all_it_owes_is_clean(order: OrderRecord) -> None:
    assert find_discrepancies([order], ObservedEffects(), NOW) == CLEAN


def test_an_order_that_has_nothing_yet_misses_everything() -> None:
    missing = find_discrepancies([PLACED], ObservedEffects(), NOW).missing
    assert [one.effect for one in missing] == list(Effect)
    assert {one.order for one in missing} == {"WB-1"}


@pytest.mark.parametrize("effect", Effect)
def test_what_is_missing_is_late_from_its_steps_deadline_on(effect: Effect) -> None:
    deadline = timedelta(seconds=STEP_OF[effect].deadline_seconds)

    def late(age: timedelta, own: timedelta | None = None) -> bool:
        order = replace(PLACED, placed_at=NOW - age)
        (one,) = [
            one for one in find_discrepancies([order], ObservedEffects(), NOW, own).missing if one.effect is effect
        ]
        return one.overdue

    assert not late(deadline - timedelta(seconds=1))
    assert late(deadline)
    assert late(timedelta(seconds=5), timedelta(seconds=5))
    assert not late(deadline, deadline * 2)


@pytest.mark.parametrize(
    ("change", "effect"),
    [
        ({"stock": (Stock("SKU-1", 2, 1),)}, Effect.STOCK),
        ({"sap_document": None}, Effect.SAP),
        ({"mails": ()}, Effect.EMAIL),
        ({"document": None}, Effect.INVOICE),
        ({"counted": 0}, Effect.ANALYTICS),
    ],
)
def test_what_a_completed_order_lacks_is_late_at_once(change: dict[str, object], effect: Effect) -> None:
    order = replace(COMPLETED, placed_at=NOW, **change)  # type: ignore[arg-type]
    (one,) = find_discrepancies([order], ObservedEffects(), NOW).missing
    assert (one.effect, one.overdue) == (effect, True)
    assert "says it is done, and it is not there" in one.blocked_by


def test_what_its_step_calls_done_and_is_not_there_is_late_at_once() -> None:
    done = {("sap", "inventory.reserved"): StepProgress("sync_order_to_sap", StepState.DONE, 1)}
    order = replace(PLACED, placed_at=NOW, status=Status.SYNCED, sap_document="1000001", progress=OrderProgress(done))
    missing = {one.effect: one for one in find_discrepancies([order], ObservedEffects(sap_documents={}), NOW).missing}
    assert missing[Effect.SAP].overdue
    assert missing[Effect.SAP].blocked_by == "sap says it is done, and it is not there: document 1000001"
    assert not missing[Effect.EMAIL].overdue


@pytest.mark.parametrize(
    ("seen", "effect"),
    [
        (ObservedEffects(sap_documents={}), Effect.SAP),
        (ObservedEffects(mails={}), Effect.EMAIL),
        (ObservedEffects(documents=frozenset()), Effect.INVOICE),
    ],
)
def test_the_place_itself_counts_and_not_our_word_for_it(seen: ObservedEffects, effect: Effect) -> None:
    assert [one.effect for one in find_discrepancies([COMPLETED], seen, NOW).missing] == [effect]


def test_a_place_that_has_what_we_do_not_know_yet_counts_too() -> None:
    seen = ObservedEffects(sap_documents={ID: ["1000001"]}, mails={ID: [EMAIL]})
    assert find_discrepancies([replace(COMPLETED, sap_document=None, mails=())], seen, NOW) == CLEAN


@pytest.mark.parametrize(
    ("change", "seen", "effect", "what"),
    [
        ({}, ObservedEffects(sap_documents={ID: ["1", "2"]}), Effect.SAP, "document 1 and document 2"),
        ({"counted": 2}, ObservedEffects(), Effect.ANALYTICS, "sales figures and sales figures"),
        ({"mails": (EMAIL, ID)}, ObservedEffects(), Effect.EMAIL, f"e-mail {EMAIL} and e-mail {ID}"),
        ({"stock": (Stock("SKU-1", 2, 4),)}, ObservedEffects(), Effect.STOCK, "4 units of SKU-1, 2 ordered"),
    ],
    ids=["sap", "analytics", "email", "stock"],
)
def test_more_than_one_is_done_twice(
    change: dict[str, object], seen: ObservedEffects, effect: Effect, what: str
) -> None:
    order = replace(COMPLETED, **change)  # type: ignore[arg-type]
    assert find_discrepancies([order], seen, NOW) == Discrepancies([], [DuplicateEffect("WB-1", effect, what)], [])


def test_effects_of_a_rejected_order_beyond_its_email_are_orphans() -> None:
    order = replace(REJECTED, stock=(Stock("SKU-1", 2, 2), Stock("SKU-2", 5, 0)))
    judgement = find_discrepancies([order], ObservedEffects(sap_documents={ID: ["7"]}), NOW)
    assert judgement == Discrepancies(
        [],
        [],
        [
            OrphanEffect(Effect.STOCK, "2 units of SKU-1 of WB-1, which is rejected"),
            OrphanEffect(Effect.SAP, "document 7 of WB-1, which is rejected"),
        ],
    )


def test_an_order_owes_each_leaf_step_that_its_events_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    leaf = Step("notify_warehouse", "warehouse", ("order.synced",), (), "local", 30, 900)
    monkeypatch.setattr(workflow, "STEPS", (*STEPS, leaf))
    owing = replace(COMPLETED, progress=OrderProgress(leaf_steps={leaf.name}))
    late = owing.placed_at + timedelta(seconds=leaf.deadline_seconds)

    (missing,) = find_discrepancies([owing], ObservedEffects(), late).missing
    assert (missing.effect, missing.overdue) == ("warehouse", True)
    done = StepProgress(leaf.name, StepState.DONE, 1)
    there = replace(owing, progress=OrderProgress({("warehouse", "order.synced"): done}, leaf_steps={leaf.name}))
    assert find_discrepancies([there], ObservedEffects(), late).missing == []
    assert find_discrepancies([replace(COMPLETED, progress=OrderProgress())], ObservedEffects(), late).missing == []
