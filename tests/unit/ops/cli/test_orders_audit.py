"""The output of `waybill orders audit`, and its exit code for an unusable option."""

import io
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import typer
from rich.console import Console

from ops.audit.report import AuditReport
from ops.cli.audit_view import SHOWN, as_json, print_report
from ops.cli.orders_audit import orders_audit
from orders.audit.reconciliation import SalesDifference, StockDifference
from orders.audit.rules import DuplicateEffect, Effect, MissingEffect, OrphanEffect
from tests.support.builders.audit_reports import clean_report

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CLEAN = clean_report(NOW, {"completed": 2, "rejected": 1}, since=NOW - timedelta(days=1))
LATE = MissingEffect("WB-1", Effect.SAP, "waiting in sap, attempt 3 [bold]", overdue=True)
SALES = SalesDifference(date(2026, 3, 1), "SKU-1", "Chile", "EUR", 2, Decimal(20), 4, Decimal(40))

BEHIND = [("WB-1", Effect.EMAIL), ("WB-1", Effect.INVOICE), ("WB-2", Effect.EMAIL), ("WB-2", Effect.ANALYTICS)]


def page(report: AuditReport) -> str:
    output = io.StringIO()
    print_report(Console(file=output, width=200, highlight=False), report)
    return output.getvalue()


@pytest.mark.parametrize(("option", "since", "until"), [("--since", "yesterday", "0s"), ("--until", "2h", "soon")])
def test_an_unusable_time_ends_the_command_with_its_option_and_value(
    option: str, since: str, until: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended:
        orders_audit(since=since, until=until)

    assert ended.value.exit_code == 2
    value = since if option == "--since" else until
    assert f"waybill: {option} '{value}' is neither a time" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"missing": [LATE]},
        {"doubled": [DuplicateEffect("WB-1", Effect.SAP, "document 1 and document 2")]},
        {"orphans": [OrphanEffect("audit", "event 1 of order 2")]},
        {"sales_wrong": [SALES]},
        {"stock_wrong": [StockDifference("SKU-1", 10, 7, 2)]},
        {"invoice_gaps": 1},
        {"audit_overdue": 1},
        {"audit_extra": 1},
        {"not_seen": {"sap": "no answer"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_kind_of_fault_is_shown_and_not_clean(change: dict[str, object]) -> None:
    report = replace(CLEAN, **change)  # type: ignore[arg-type]
    assert not report.clean
    assert "The audit found faults." in page(report)
    assert page(report) != page(replace(CLEAN))
    assert json.loads(as_json(report))["clean"] is False


def test_an_effect_in_progress_or_sent_again_is_shown_and_clean() -> None:
    report = replace(CLEAN, missing=[replace(LATE, overdue=False)], resent=1, audit_missing=4)
    assert report.clean
    shown = page(report)
    assert "In progress: 1" in shown
    assert "waiting in sap, attempt 3 [bold]" in shown
    assert "No effect is overdue and none is doubled." in shown


def test_an_order_blocked_by_one_step_is_one_row_with_all_effects_that_wait_for_it() -> None:
    blocked_by = "waiting in sap, attempt 3, last error SapUnavailable: 503"
    behind = [MissingEffect(one, effect, f"waits for sap: {blocked_by}", overdue=True) for one, effect in BEHIND]
    shown = page(replace(CLEAN, missing=[MissingEffect("WB-1", Effect.SAP, blocked_by, overdue=True), *behind]))

    assert "Overdue: 5" in shown
    (first,) = [line for line in shown.splitlines() if "WB-1" in line]
    assert "sap, email, invoice" in first
    assert "waits for" not in first
    (second,) = [line for line in shown.splitlines() if "WB-2" in line]
    assert "email, analytics" in second
    assert f"waits for sap: {blocked_by}" in second


def test_a_long_list_is_cut_and_says_so() -> None:
    shown = page(replace(CLEAN, missing=[replace(LATE, order=f"WB-{n}") for n in range(SHOWN + 7)]))
    assert "Overdue: 107" in shown
    assert "… and 7 more (--json)" in shown
