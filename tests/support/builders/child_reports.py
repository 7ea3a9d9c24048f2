"""Reports of children, made for tests."""

from uuid import uuid4

from consumers.delivery.result import DeliveryResult
from consumers.worker.child_reports import DeliveryReport
from orders.workflow import BY_NAME, Step

SAP = BY_NAME["sync_order_to_sap"]


def child_report(result: DeliveryResult, step: Step = SAP, seconds: float = 0.25, **more: float) -> DeliveryReport:
    """A report of a delivery of its own."""
    return DeliveryReport(str(uuid4()), step, result, step.listens_to[0], seconds, **more)  # type: ignore[arg-type]
