"""A real Prometheus loads the scaled rules, evaluates each without an error, and alerts on missing targets."""

import json
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.observe.rules import WATCHDOG, alerts_of, scaled
from lab.stack.commands import answers
from lab.stack.ports import free_port
from lab.stack.program import Child, Program
from tests.support.deadlines import ANSWER_SECONDS
from tests.support.paths import ROOT

SHIPPED = ROOT / "deploy" / "prometheus" / "alerts.yml"
CONFIG = """\
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: [alerts.yml]
scrape_configs:
  - job_name: prometheus
    static_configs: [{{ targets: ["127.0.0.1:{port}"] }}]
"""
FACTOR = 60
EVALUATED_SECONDS = 30.0


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[str]:
    """A Prometheus with the scaled rules that scrapes only itself; its URL."""
    port = free_port()
    (tmp_path / "alerts.yml").write_text(scaled(SHIPPED.read_text(), FACTOR))
    (tmp_path / "prometheus.yml").write_text(CONFIG.format(port=port))
    found = shutil.which("prometheus")
    assert found, "prometheus is not installed; `sudo lab/stack/bootstrap.sh --servers` installs it"
    url = f"http://127.0.0.1:{port}"
    program = Program(
        name="prometheus",
        command=(
            found,
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ),
        log=tmp_path / "log",
        ready=lambda: answers(f"{url}/-/ready"),
    )
    child = Child(program, {})
    try:
        child.wait_ready()
        yield url
    finally:
        child.stop()


def rules(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{url}/api/v1/rules", timeout=ANSWER_SECONDS) as response:
        groups = json.load(response)["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def firing(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Firing alerts, each with its job."""
    return sorted(
        (rule["name"], alert["labels"].get("job", ""))
        for rule in found
        for alert in rule.get("alerts", ())
        if alert["state"] == "firing"
    )


def test_every_rule_is_evaluated_and_each_missing_target_fires_an_alert(prometheus: str) -> None:
    missing = [("WaybillJobDown", job) for job in ("api", "collector", "rabbitmq", "relay", "worker")]
    until = time.monotonic() + EVALUATED_SECONDS
    while firing(found := rules(prometheus)) != [*missing, (WATCHDOG, "")] and time.monotonic() < until:
        time.sleep(0.2)
    assert firing(found) == [*missing, (WATCHDOG, "")]
    assert {rule["health"] for rule in found} == {"ok"}
    assert {rule["name"] for rule in found if rule["type"] == "alerting"} == set(alerts_of(SHIPPED.read_text()))
