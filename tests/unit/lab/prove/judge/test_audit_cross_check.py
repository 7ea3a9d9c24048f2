from dataclasses import replace
from datetime import UTC, datetime

from lab.prove.judge.audit_cross_check import differences
from ops.audit.report import AuditReport
from orders.audit.rules import DuplicateEffect, Effect, MissingEffect, OrphanEffect
from tests.support.builders.audit_reports import clean_report

CLEAN = clean_report(datetime(2026, 3, 1, tzinfo=UTC), {"completed": 3}, resent=1)


def kinds(report: AuditReport) -> list[tuple[str, str]]:
    return [(finding.kind, finding.what) for finding in differences(report, 3)]


def test_a_clean_report_of_all_orders_is_no_finding() -> None:
    assert kinds(CLEAN) == []


def test_a_missing_doubled_or_ownerless_effect_is_a_finding() -> None:
    report = replace(
        CLEAN,
        missing=[MissingEffect("WB-1", Effect.EMAIL, "waiting in email", overdue=True)],
        doubled=[DuplicateEffect("WB-2", Effect.SAP, "1000001, 1000002")],
        orphans=[OrphanEffect("invoice", "2026-000009")],
    )

    assert kinds(report) == [
        ("lost", "email, by the completeness audit"),
        ("duplicated", "sap, by the completeness audit"),
        ("duplicated", "invoice, by the completeness audit"),
    ]


def test_an_order_that_the_audit_does_not_know_is_lost() -> None:
    assert kinds(replace(CLEAN, orders=2)) == [("lost", "order, by the completeness audit")]


def test_a_report_that_is_not_clean_for_any_other_reason_is_a_finding() -> None:
    assert kinds(replace(CLEAN, invoice_gaps=1)) == [("lost", "something, by the completeness audit")]
    assert kinds(replace(CLEAN, not_seen={"SAP": "no answer"})) == [("lost", "something, by the completeness audit")]
