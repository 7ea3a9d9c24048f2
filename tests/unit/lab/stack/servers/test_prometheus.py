"""The configuration and the command of a private Prometheus."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from lab.stack.errors import StackError
from lab.stack.program import Program
from lab.stack.servers import prometheus
from lab.stack.servers.obtain import given_rabbitmq_metrics
from ops.errors import ServerError


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program of that name in PATH."""
    program = tmp_path / "bin" / "prometheus"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(program.parent))


def prepared(folder: Path, *, alerting: bool = False) -> Program:
    targets = {"worker": ["127.0.0.1:8083", "127.0.0.1:8084"], "rabbitmq": []}
    return prometheus.prepare(
        folder, folder / "log", 9090, targets, lambda name, text: f"# {name}\n{text}", alerting=alerting
    )


@pytest.mark.usefixtures("installed")
def test_it_listens_on_loopback_and_its_data_expires(tmp_path: Path) -> None:
    words = prepared(tmp_path).command

    assert words[0] == str(tmp_path / "bin" / "prometheus")
    assert "--web.listen-address=127.0.0.1:9090" in words
    assert f"--storage.tsdb.path={tmp_path / 'data'}" in words
    assert {word.partition("=")[0] for word in words} >= {
        "--storage.tsdb.retention.time",
        "--storage.tsdb.retention.size",
    }


@pytest.mark.usefixtures("installed")
def test_it_reads_the_shipped_files_as_the_caller_adapts_them(tmp_path: Path) -> None:
    prepared(tmp_path)

    for name in ("prometheus.yml", "alerts.yml"):
        assert (tmp_path / name).read_text() == f"# {name}\n{(prometheus.SHIPPED / name).read_text()}"


@pytest.mark.usefixtures("installed")
def test_only_an_alerting_system_reads_the_shipped_alertmanagers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped, written = tmp_path / "shipped", tmp_path / "targets" / "alertmanagers.yml"
    shutil.copytree(prometheus.SHIPPED, shipped)
    (shipped / "targets" / "alertmanagers.yml").write_text("- targets: [on-call:9093]\n")
    monkeypatch.setattr(prometheus, "SHIPPED", shipped)

    prepared(tmp_path, alerting=True)
    assert yaml.safe_load(written.read_text()) == [{"targets": ["on-call:9093"]}]
    prepared(tmp_path)
    assert yaml.safe_load(written.read_text()) == []


@pytest.mark.usefixtures("installed")
def test_the_targets_are_those_of_this_instance(tmp_path: Path) -> None:
    prepared(tmp_path)

    workers = json.loads((tmp_path / "targets" / "worker.yml").read_text())
    assert workers == [{"targets": ["127.0.0.1:8083", "127.0.0.1:8084"]}]
    assert json.loads((tmp_path / "targets" / "rabbitmq.yml").read_text()) == [{"targets": []}]


def test_without_an_installation_the_error_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(StackError, match=r"sudo lab/stack/bootstrap\.sh --servers"):
        prepared(tmp_path)


def test_the_metrics_address_of_a_given_broker_comes_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RABBITMQ_METRICS_URL", raising=False)
    assert given_rabbitmq_metrics() == ""

    monkeypatch.setenv("RABBITMQ_METRICS_URL", "http://broker:15692")
    assert given_rabbitmq_metrics() == "broker:15692"

    monkeypatch.setenv("RABBITMQ_METRICS_URL", "broker:15692")
    with pytest.raises(ServerError, match="RABBITMQ_METRICS_URL"):
        given_rabbitmq_metrics()


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://broker", "broker:15692"),
        ("http://broker:/", "broker:15692"),
        ("http://broker:1/", "broker:1"),
        ("http://[::1]", "[::1]:15692"),
    ],
)
def test_the_plugins_own_port_is_the_usual_one(url: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABBITMQ_METRICS_URL", url)

    assert given_rabbitmq_metrics() == target


@pytest.mark.parametrize(
    "rest", ["user:secret@broker:15692", "broker:15692/metrics", "broker/?vhost=secret", "broker/#secret"]
)
def test_a_url_with_more_than_a_target_can_hold_is_refused_without_its_password(
    rest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABBITMQ_METRICS_URL", f"http://{rest}")

    with pytest.raises(
        ServerError, match="RABBITMQ_METRICS_URL must have the form http://host:15692, without"
    ) as refused:
        given_rabbitmq_metrics()
    assert "secret" not in str(refused.value)
