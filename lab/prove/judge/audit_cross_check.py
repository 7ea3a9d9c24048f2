"""A cross-check: the completeness audit (`waybill orders audit`) judges the same system in its own way.

`judge` and the audit share no query and no rule, so a mistake in one of them shows as a difference.
"""

from collections.abc import Iterator

from lab.prove.judge.finding import Finding
from lab.trial import Trial
from ops.audit.report import AuditReport
from ops.cli.audit_view import as_json


async def audit_cross_check(trial: Trial) -> list[Finding]:
    """The audit's findings on all orders of this system; an effect that is missing now counts as lost."""
    return list(differences(await trial.audit(), len(trial.workload.orders)))


def differences(report: AuditReport, orders: int) -> Iterator[Finding]:
    """A report as findings of a proof. A report that is not clean for any other reason is a finding as well."""
    found = [
        *(Finding("lost", _by_audit(one.effect), one.order, one.blocked_by) for one in report.missing),
        *(Finding("duplicated", _by_audit(one.effect), one.order, one.what) for one in report.doubled),
        *(Finding("duplicated", _by_audit(one.effect), one.what, "of no order") for one in report.orphans),
    ]
    if report.orders != orders:
        found.append(Finding("lost", _by_audit("order"), f"{orders - report.orders} of {orders}"))
    if not report.clean and not found:
        found.append(Finding("lost", _by_audit("something"), "its report", as_json(report)[:2000]))
    yield from found


def _by_audit(effect: str) -> str:
    return f"{effect}, by the completeness audit"
