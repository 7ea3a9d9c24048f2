"""The code of a step, found by convention: `consumers/steps/<queue>.py` names its class in `STEP_CLASS`.

Called when a worker starts, so that a row of the table without code ends the start and no delivery.
"""

from importlib import import_module

from consumers.delivery.step_kinds import StepKind
from orders.workflow import Step


class StepCodeError(Exception):
    """A row of the table has no code; the text says what to add."""


def step_class(step: Step) -> type[StepKind]:
    """The class of a step. Raises StepCodeError."""
    name = f"consumers.steps.{step.queue}"
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise StepCodeError(
            f"step {step.name!r} has no code: add consumers/steps/{step.queue}.py, which names its class in STEP_CLASS"
        ) from error
    found = getattr(module, "STEP_CLASS", None)
    if not (isinstance(found, type) and issubclass(found, StepKind)):
        raise StepCodeError(
            f"consumers/steps/{step.queue}.py names no class for step {step.name!r}: "
            "set STEP_CLASS to a LocalStep, an OutsideStep or a RecordingStep"
        )
    return found
