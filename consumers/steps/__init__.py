"""The eight steps. `REACTIONS` says which code does what orders.workflow names."""

from consumers.delivery.step_kinds import LocalStep, OutsideStep, RecordingStep
from consumers.steps.analytics import UpdateAnalytics
from consumers.steps.audit import RecordAudit
from consumers.steps.email import SendConfirmationEmail
from consumers.steps.finalize import FinalizeOrder
from consumers.steps.inventory import ReserveInventory
from consumers.steps.invoice import GenerateInvoicePdf
from consumers.steps.sap import SyncOrderToSap
from consumers.steps.validate import ValidateOrder

REACTIONS: dict[str, LocalStep | OutsideStep | RecordingStep] = {
    "validate_order": ValidateOrder(),
    "reserve_inventory": ReserveInventory(),
    "sync_order_to_sap": SyncOrderToSap(),
    "send_confirmation_email": SendConfirmationEmail(),
    "generate_invoice_pdf": GenerateInvoicePdf(),
    "update_analytics": UpdateAnalytics(),
    "finalize_order": FinalizeOrder(),
    "record_audit": RecordAudit(),
}
