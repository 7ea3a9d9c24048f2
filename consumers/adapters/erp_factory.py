"""The one place that chooses the ERP. Called by the step that books orders, and by `ops.audit.probes`."""

from consumers.adapters.erp import Erp
from consumers.adapters.sap import SapClient
from runtime.settings import Settings


def make_erp(settings: Settings) -> Erp:
    """The ERP that these settings name, which is SAP."""
    return SapClient(settings)
