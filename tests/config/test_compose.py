"""compose.yaml agrees with the code: the test needs no Docker engine."""

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from lab.cli import app as lab_app
from lab.sandbox.mail import main as mail_main
from lab.sandbox.sap import main as sap_main
from ops.cli.main import app
from orders.workflow import POOLS
from runtime.settings import Settings
from tests.support.paths import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "waybill:local"}
SANDBOXES = {name: service for name, service in SERVICES.items() if service["image"] == "waybill-lab:local"}


def test_it_is_valid_compose() -> None:
    checker = Path(sys.executable).parent / "check-jsonschema"
    result = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", ROOT / "compose.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", [*OURS, *SANDBOXES])
def test_each_command_is_one_that_the_cli_has(name: str) -> None:
    words = [word for word in SERVICES[name]["command"] if not word.startswith("-")]
    command: Any = typer.main.get_command(lab_app if name in SANDBOXES else app)
    while hasattr(command, "commands"):
        assert words[0] in command.commands, f"the command {words[0]} does not exist"
        command = command.commands[words.pop(0)]

    if name.startswith("worker-"):
        assert words == [name.removeprefix("worker-")]


def test_our_services_run_the_production_image_and_the_sandboxes_that_of_the_lab() -> None:
    assert {service["build"]["target"] for service in OURS.values()} == {"waybill"}
    assert {service["build"]["target"] for service in SANDBOXES.values()} == {"lab"}
    assert set(SANDBOXES) == {"sap", "smtp"}


@pytest.mark.parametrize(("name", "run"), [("sap", sap_main.run), ("smtp", mail_main.run)])
def test_each_sandbox_option_is_one_that_the_sandbox_has(name: str, run: Any) -> None:
    given = {word for word in SERVICES[name]["command"] if word.startswith("--")}

    assert given <= {f"--{parameter.replace('_', '-')}" for parameter in inspect.signature(run).parameters}


def test_each_pool_has_a_worker() -> None:
    assert {f"worker-{pool}" for pool in POOLS} == {name for name in SERVICES if name.startswith("worker-")}


def test_our_services_get_only_variables_that_the_settings_know() -> None:
    known = {name.upper() for name in Settings.model_fields}

    for name, service in OURS.items():
        assert set(service["environment"]) <= known, name
        assert {"DATABASE_URL", "AMQP_URL"} <= set(service["environment"]), name


def test_one_address_is_written_the_same_on_both_sides() -> None:
    environment = OURS["api"]["environment"]

    assert environment["SAP_URL"] == f"http://sap:{_option('sap', '--port')}"
    assert environment["SMTP_PORT"] == _option("smtp", "--port")
    assert environment["SMTP_HOST"] in SERVICES


def _option(service: str, name: str) -> str:
    words = SERVICES[service]["command"]
    return str(words[words.index(name) + 1])


def test_each_service_that_another_waits_for_can_reach_the_awaited_state() -> None:
    for name, service in SERVICES.items():
        for other, wait in service.get("depends_on", {}).items():
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], f"{name} waits for {other} to be healthy"
            else:
                assert SERVICES[other]["restart"] == "no", f"{name} waits for {other} to end"


def test_every_port_is_published_on_loopback_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_foreign_image_is_pinned_to_a_patch_release() -> None:
    images = [service["image"] for name, service in SERVICES.items() if name not in {*OURS, *SANDBOXES}]

    assert images
    assert all(re.search(r":v?\d+\.\d+(\.\d+)?(-|$)", image) for image in images), images


def test_each_mounted_file_of_the_checkout_exists_and_is_read_only() -> None:
    mounts = [
        (name, *volume.split(":"))
        for name, service in SERVICES.items()
        for volume in service.get("volumes", [])
        if volume.startswith(".")
    ]

    assert {name for name, *_ in mounts} == {"rabbitmq", "prometheus", "grafana"}
    for name, source, _, mode in mounts:
        assert (ROOT / source).exists(), f"{name} mounts {source}"
        assert mode == "ro", f"{name} could write to {source}"


def test_every_named_volume_is_declared_and_used() -> None:
    named = {
        volume.partition(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if not volume.startswith(".")
    }

    assert named == set(COMPOSE["volumes"])


def listening() -> dict[str, set[int]]:
    """The ports of each service's metrics page, by service; those of ours come from their settings."""
    ports = {"rabbitmq": {15692}, "localhost": {9090}}  # their images' own; localhost is Prometheus itself
    for name, service in OURS.items():
        kind = service["command"][0]
        setting = "API_PORT" if kind == "api" else f"{kind.upper()}_HTTP_PORT"
        if setting in service["environment"]:
            ports[name] = {int(service["environment"][setting])}
    return ports


def targets(job: str) -> list[tuple[str, int]]:
    """(service, port) of each target that the container's Prometheus has for a job."""
    listed = yaml.safe_load((ROOT / "deploy" / "prometheus" / "targets" / f"{job}.yml").read_text())
    addresses = [address.rsplit(":", 1) for group in listed for address in group["targets"]]
    return [(host, int(port)) for host, port in addresses]


@pytest.mark.parametrize("job", ["api", "relay", "worker", "collector", "rabbitmq", "prometheus"])
def test_each_target_is_a_service_at_the_port_where_it_listens(job: str) -> None:
    assert targets(job)
    for host, port in targets(job):
        assert port in listening()[host], f"{host} does not listen on {port}"


def test_every_service_with_a_metrics_page_is_a_target() -> None:
    jobs = ("api", "relay", "worker", "collector", "rabbitmq", "prometheus")
    asked = {host for job in jobs for host, _ in targets(job)}

    assert asked == set(listening())


def test_each_target_of_prometheus_listens_beyond_its_own_container() -> None:
    ours = set(listening()) & set(OURS)
    assert {"api", "relay", "collector"} < ours
    for name in ours:
        environment = OURS[name]["environment"]
        kind = OURS[name]["command"][0]
        assert environment["API_HOST" if kind == "api" else f"{kind.upper()}_HTTP_HOST"] == "0.0.0.0", name


def test_grafana_lets_everyone_view_and_only_the_admin_change() -> None:
    environment = SERVICES["grafana"]["environment"]

    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_PASSWORD:-")
