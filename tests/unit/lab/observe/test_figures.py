"""The failures of an observation, and its last line."""

import json
from dataclasses import replace

import pytest

from lab.observe.expected_alerts import MUST_FIRE
from lab.observe.figures import Observed, failures
from lab.observe.outage import ALERT, Outage
from lab.observe.panels import Panel
from lab.observe.prometheus_checks import CheckedPanel
from lab.observe.rule_tests import UnitTestResult
from lab.observe.rules import WATCHDOG
from lab.observe.totals import ComparedTotal, Total
from ops.doctor.prometheus_api import Rule, Target

FILLED = Panel("Flow", "Orders accepted", "sum(rate(a[1m]))", None)
QUIET = Panel("Broker", "Alarms", "sum(b) > 0", "no alarm is on")
STATUS = Total("orders by status", "max by (status) (waybill_orders)", "status")
WELL = Observed(
    targets=[Target("api", "127.0.0.1:8080", "up", "")],
    shipped=["Away", "Late"],
    tested=UnitTestResult(frozenset({"Away", "Late"})),
    rules=[Rule("Away", True, "ok", ""), Rule("Late", True, "ok", ""), Rule("job:late:max", False, "ok", "")],
    panels=[CheckedPanel(FILLED, 2), CheckedPanel(QUIET, 0)],
    outage=Outage(6.0, 3.0),
    at_rest={WATCHDOG},
    fired=list(MUST_FIRE),
    compared=[ComparedTotal(STATUS, {"completed": 187, "pending": 0}, {"completed": 187})],
    unsettled=0,
)


def test_a_sound_system_has_no_failure_and_the_last_line_says_so() -> None:
    assert failures(WELL) == []
    assert json.loads(WELL.line()) == {
        "panels": 2,
        "panels_with_data": 1,
        "alerts": 2,
        "alerts_tested": 2,
        "alert_fired_and_resolved": True,
        "totals_match": True,
    }


@pytest.mark.parametrize(
    ("wrong", "reported"),
    [
        (replace(WELL, targets=[]), "no target at all"),
        (replace(WELL, targets=[Target("relay", "127.0.0.1:8081", "down", "refused")]), "relay 127.0.0.1:8081 is down"),
        (replace(WELL, targets=[Target("relay", "127.0.0.1:8081", "unknown", "")]), "not scraped yet"),
        (replace(WELL, rules=WELL.rules[::2]), "Late is shipped and not loaded"),
        (replace(WELL, tested=UnitTestResult(frozenset({"Away"}))), "Late has no unit test"),
        (replace(WELL, tested=UnitTestResult(frozenset(), "promtool says FAILED: Late")), "promtool says FAILED: Late"),
        (
            replace(WELL, rules=[*WELL.rules, Rule("Odd", True, "err", "no such label")]),
            "alert Odd cannot be evaluated: no",
        ),
        (
            replace(WELL, rules=[*WELL.rules, Rule("odd", False, "err", "")]),
            "recording rule odd cannot be evaluated: err",
        ),
        (replace(WELL, at_rest=[]), f"{WATCHDOG} does not fire"),
        (replace(WELL, fired=[*WELL.fired, "Late"]), "Late fired, and no fault"),
        (replace(WELL, fired=[ALERT]), "WaybillDeadLettersNew did not fire, though one customer's mailbox"),
        (replace(WELL, at_rest=[WATCHDOG, "Late"]), "Late fires though nothing has happened"),
        (replace(WELL, panels=[]), "no panel at all"),
        (replace(WELL, panels=[CheckedPanel(FILLED, 0)]), "Flow / Orders accepted shows nothing"),
        (replace(WELL, panels=[CheckedPanel(QUIET, 0, "parse error")]), "Broker / Alarms: parse error"),
        (replace(WELL, outage=Outage(None, None)), "did not fire"),
        (replace(WELL, outage=Outage(6.0, None)), "did not resolve"),
        (replace(WELL, unsettled=3), "3 deliveries are neither done nor dead"),
        (
            replace(WELL, compared=[ComparedTotal(STATUS, {"completed": 186}, {"completed": 187})]),
            "orders by status (completed): Prometheus has 186, expected are 187",
        ),
        (
            replace(WELL, compared=[ComparedTotal(STATUS, {"completed": 186, "synced": 1}, {"completed": 186})]),
            "orders by status (synced): Prometheus has 1, expected are 0",
        ),
        (replace(WELL, compared=[ComparedTotal(Total("events", "e"), {}, {"": 7})]), "events: Prometheus has 0"),
    ],
)
def test_each_failure_is_one_sentence(wrong: Observed, reported: str) -> None:
    (failure,) = failures(wrong)

    assert reported in failure


def test_unit_tests_that_fail_leave_no_alert_tested_in_the_last_line() -> None:
    assert json.loads(replace(WELL, tested=UnitTestResult(frozenset(), "FAILED")).line())["alerts_tested"] == 0


def test_an_alert_that_did_not_do_both_and_totals_that_differ_show_in_the_last_line() -> None:
    figures = json.loads(replace(WELL, outage=Outage(6.0, None), unsettled=1).line())

    assert not figures["alert_fired_and_resolved"]
    assert not figures["totals_match"]
