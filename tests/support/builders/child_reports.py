"""Words of children as tests say them."""

from uuid import uuid4

from consumers.delivery.outcome import Outcome
from consumers.worker.child_reports import Word
from orders.workflow import BY_NAME, Step

SAP = BY_NAME["sync_order_to_sap"]


def child_report(outcome: Outcome, step: Step = SAP, seconds: float = 0.25, **more: float) -> Word:
    """A word for a delivery of its own."""
    return Word(str(uuid4()), step, outcome, step.listens_to[0], seconds, **more)  # type: ignore[arg-type]
