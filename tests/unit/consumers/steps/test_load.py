"""Each row of the table of steps has its code, found by convention; a row without code is refused with the remedy."""

import sys
from dataclasses import replace
from types import ModuleType

import pytest

from consumers.delivery.step_kinds import StepKind
from consumers.steps.load import StepCodeError, step_class
from orders.workflow import BY_NAME, POOLS, STEPS, Step


def test_every_step_of_the_table_has_a_class_of_its_own() -> None:
    assert len({step_class(step) for step in STEPS}) == len(STEPS)


def test_a_row_without_a_module_is_refused_with_the_file_to_add() -> None:
    with pytest.raises(StepCodeError, match=r"'notify_warehouse' has no code: add consumers/steps/warehouse\.py"):
        step_class(replace(BY_NAME["validate_order"], name="notify_warehouse", queue="warehouse"))


def test_a_module_that_names_no_class_is_refused_with_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "consumers.steps.warehouse", ModuleType("consumers.steps.warehouse"))
    with pytest.raises(StepCodeError, match="set STEP_CLASS to a LocalStep, an OutsideStep or a RecordingStep"):
        step_class(replace(BY_NAME["validate_order"], name="notify_warehouse", queue="warehouse"))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_step_can_be_away_if_and_only_if_its_pool_is_outside(step: Step) -> None:
    assert (step_class(step).is_away is not StepKind.is_away) is POOLS[step.pool].outside


@pytest.mark.parametrize(
    ("name", "pool", "found"),
    [
        ("sync_order_to_sap", "invoice", r"has a probe \(`is_away`\), and its pool 'invoice' has outside=False"),
        ("generate_invoice_pdf", "sap", r"has no probe \(`is_away`\), and its pool 'sap' has outside=True"),
    ],
)
def test_a_step_in_a_pool_that_contradicts_its_code_is_refused(name: str, pool: str, found: str) -> None:
    with pytest.raises(StepCodeError, match=found):
        step_class(replace(BY_NAME[name], pool=pool))
