"""The code of a step, found by convention: `consumers/steps/<queue>.py` names its class in `STEP_CLASS`.

Called when a worker starts, so that a row of the table without code ends the start and no delivery. So does a step
that contradicts its pool: a circuit opens for a step that overrides `is_away`, and such a step's pool is `outside`.
"""

from importlib import import_module

from consumers.delivery.step_kinds import StepKind
from orders.workflow import Step, pool_of


class StepCodeError(Exception):
    """A row of the table has no code, or code that contradicts it; the text says what to mend."""


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
    _check_pool(step, found)
    return found


def _check_pool(step: Step, found: type[StepKind]) -> None:
    """Check that the pool of a step with a probe is `outside`, and that of a step without one is not."""
    probes = found.is_away is not StepKind.is_away
    pool = pool_of(step)
    if probes is not pool.outside:
        raise StepCodeError(
            f"step {step.name!r} {'has a' if probes else 'has no'} probe (`is_away`), and its pool {pool.name!r} has "
            f"outside={pool.outside}: let orders/workflow.py name another pool, or add or remove the probe"
        )
