"""The doctor's findings on Prometheus, its targets and its Alertmanagers."""

from lab.stack.ports import free_port
from ops.doctor import watch
from ops.doctor.finding import Verdict
from ops.doctor.prometheus_api import Target

API = Target("api", "127.0.0.1:8080", "up", "")
RELAY = Target("relay", "127.0.0.1:8081", "down", "connection refused")
NEW = Target("worker", "127.0.0.1:8083", "unknown", "")


def test_a_prometheus_that_reaches_every_target_is_good() -> None:
    finding = watch.targets_reached("http://127.0.0.1:9090", [API, NEW])

    assert finding.verdict is Verdict.GOOD
    assert "2 targets" in finding.found


def test_an_unreached_target_is_named_with_the_reason() -> None:
    finding = watch.targets_reached("http://127.0.0.1:9090", [API, RELAY])

    assert finding.verdict is Verdict.WARNING
    assert "relay 127.0.0.1:8081: connection refused" in finding.found
    assert finding.remedy


async def test_a_silent_prometheus_is_a_warning_and_an_unknown_one_has_no_finding() -> None:
    (silent,) = await watch.prometheus(f"http://127.0.0.1:{free_port()}")

    assert silent.verdict is Verdict.WARNING
    assert await watch.prometheus(None) == []


def test_alerts_without_an_alertmanager_are_a_warning_that_names_the_file() -> None:
    finding = watch.alerted([])

    assert finding.verdict is Verdict.WARNING
    assert "alertmanagers.yml" in finding.remedy
    assert watch.alerted(["http://alertmanager:9093/api/v2/alerts"]).verdict is Verdict.GOOD
