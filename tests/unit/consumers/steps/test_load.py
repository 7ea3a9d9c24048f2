"""Each row of the table of steps has its code, found by convention; a row without code is refused with the remedy."""

import sys
from dataclasses import replace
from types import ModuleType

import pytest

from consumers.steps.load import StepCodeError, step_class
from orders.workflow import BY_NAME, STEPS


def test_every_step_of_the_table_has_a_class_of_its_own() -> None:
    assert len({step_class(step) for step in STEPS}) == len(STEPS)


def test_a_row_without_a_module_is_refused_with_the_file_to_add() -> None:
    with pytest.raises(StepCodeError, match=r"'notify_warehouse' has no code: add consumers/steps/warehouse\.py"):
        step_class(replace(BY_NAME["validate_order"], name="notify_warehouse", queue="warehouse"))


def test_a_module_that_names_no_class_is_refused_with_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "consumers.steps.warehouse", ModuleType("consumers.steps.warehouse"))
    with pytest.raises(StepCodeError, match="set STEP_CLASS to a LocalStep, an OutsideStep or a RecordingStep"):
        step_class(replace(BY_NAME["validate_order"], name="notify_warehouse", queue="warehouse"))
