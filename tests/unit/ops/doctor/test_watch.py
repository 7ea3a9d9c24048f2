"""Whether somebody would be told: what the doctor makes of Prometheus's targets and of whom it tells."""

from lab.stack.ports import free_port
from ops.doctor import watch
from ops.doctor.finding import Verdict
from ops.doctor.prometheus_api import Target

API = Target("api", "127.0.0.1:8080", "up", "")
RELAY = Target("relay", "127.0.0.1:8081", "down", "connection refused")
NEW = Target("worker", "127.0.0.1:8083", "unknown", "")


def test_everybody_seen_is_good() -> None:
    finding = watch.targets_seen("http://127.0.0.1:9090", [API, NEW])

    assert finding.verdict is Verdict.GOOD
    assert "2 targets" in finding.found


def test_one_that_is_not_reached_is_named_with_the_reason() -> None:
    finding = watch.targets_seen("http://127.0.0.1:9090", [API, RELAY])

    assert finding.verdict is Verdict.WARNING
    assert "relay 127.0.0.1:8081: connection refused" in finding.found
    assert finding.remedy


async def test_a_prometheus_that_does_not_answer_is_a_warning_and_one_that_nobody_knows_is_nothing() -> None:
    (silent,) = await watch.prometheus(f"http://127.0.0.1:{free_port()}")

    assert silent.verdict is Verdict.WARNING
    assert await watch.prometheus(None) == []


def test_alerts_that_nobody_is_told_of_are_a_warning_that_says_where_to_name_somebody() -> None:
    nobody = watch.told([])

    assert nobody.verdict is Verdict.WARNING
    assert "alertmanagers.yml" in nobody.remedy
    assert watch.told(["http://alertmanager:9093/api/v2/alerts"]).verdict is Verdict.GOOD
