"""The alerts that may fire under the faults of an observation."""

from lab.observe.expected_alerts import MAY_FIRE, MUST_FIRE, silent, unexpected
from lab.observe.rules import alerts_of
from lab.stack.servers.prometheus import RULES, SHIPPED


def test_only_shipped_alerts_are_expected() -> None:
    assert set(MAY_FIRE) <= set(alerts_of((SHIPPED / RULES).read_text()))


def test_an_alert_that_may_fire_is_ignored_and_one_that_must_is_missed() -> None:
    assert unexpected(MAY_FIRE) == []
    assert unexpected(["WaybillRetryStorm", "WaybillNoLeader"]) == ["WaybillNoLeader"]
    assert silent(MAY_FIRE) == []
    assert silent([]) == sorted(MUST_FIRE)
