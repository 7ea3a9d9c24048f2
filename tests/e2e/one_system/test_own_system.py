"""An operator's commands find the system of `make up` without its address."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil
import pytest
import typer
from typer.testing import CliRunner, Result

from lab.cli import app as lab_app
from lab.stack import terminal
from lab.stack.errors import StackError
from lab.stack.local import LocalStack
from lab.stack.servers import obtain, postgres
from ops import target
from ops.cli.main import app
from orders.workflow import required_queues
from runtime.settings import load_settings
from tests.support.deadlines import ANSWER_SECONDS
from tests.support.paths import ROOT


@pytest.fixture
def up(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> LocalStack:
    """The session's system, taken for that of `make up`, and a shell that knows no other."""
    for module in (terminal, target):
        monkeypatch.setattr(module, "UP", stack.instance.folder)
    for name in ("DATABASE_URL", "AMQP_URL"):
        monkeypatch.delenv(name, raising=False)
    load_settings.cache_clear()
    return stack


def lab(*words: str, code: int = 0) -> Result:
    return invoked(lab_app, words, code)


def waybill(*words: str, code: int = 0) -> Result:
    return invoked(app, words, code)


def invoked(command: typer.Typer, words: Sequence[str], code: int) -> Result:
    result = CliRunner().invoke(command, list(words))
    assert result.exit_code == code, result.output
    return result


def test_the_environment_that_it_prints_lets_a_shell_run_every_command(up: LocalStack) -> None:
    script = f"""{lab("env").stdout}
{sys.executable} -m ops.cli topology apply
curl -sf "$API/readyz" "$RELAY/readyz"
psql "$DATABASE_URL" -Atc "SELECT count(*) || ' queues' FROM outbox.destinations"
"""
    bare = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
    done = subprocess.run(["bash", "-ec", script], cwd=ROOT, env=bare, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "the system that the environment names" in done.stdout
    assert done.stdout.endswith(f"{len(required_queues())} queues\n")
    assert str(postgres.binaries()) in lab("env").stdout


def test_a_value_is_quoted_for_the_shell(up: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalStack, "environment", lambda _: {"DOCUMENTS_DIR": "/my; orders'/$HOME"})
    monkeypatch.setattr(terminal, "PAGES", {})
    output = subprocess.run(
        ["bash", "-ec", f'{lab("env").stdout}printf %s "$DOCUMENTS_DIR"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert output.stdout == "/my; orders'/$HOME"


def test_migrate_and_topology_work_on_it_and_say_so(up: LocalStack) -> None:
    assert f"the system of `make up` ({up.instance.folder})" in waybill("migrate").stdout
    applied = waybill("topology", "apply").stdout
    assert "the system of `make up`" in applied
    assert "queues exist: " in applied


def test_where_nothing_was_ever_started_each_says_what_to_do(
    up: LocalStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for module in (terminal, target):
        monkeypatch.setattr(module, "UP", tmp_path)
    assert "`make up`" in lab("env", code=2).output
    for words in (["migrate"], ["topology", "apply"]):
        assert "`make up`" in waybill(*words, code=2).output
    assert "nothing runs here; `make up` starts it" in lab("restart", "relay", code=1).output


def test_another_broker_in_the_environment_is_not_mixed_with_it(
    up: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMQP_URL", "amqp://127.0.0.1:1/")
    assert "DATABASE_URL" in waybill("topology", "apply", code=2).output


def test_a_program_is_restarted_by_its_name(up: LocalStack) -> None:
    before = next(state.pid for state in up.states() if state.name == "collector")

    output = lab("restart", "collector").stdout

    (pid,) = re.findall(r"collector runs again, pid (\d+)", output)
    assert int(pid) != before
    assert not psutil.pid_exists(before)
    assert httpx.get(f"{up.api_url}/readyz", timeout=ANSWER_SECONDS).status_code == 200


def test_an_unknown_program_is_refused_with_the_names_that_there_are(up: LocalStack) -> None:
    with pytest.raises(StackError, match="'sapp' is not a program of `make status`: api, collector, "):
        up.supervisor.restart("sapp")


def test_its_own_servers_in_the_environment_are_nobodys_gift(up: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", up.database_url)
    monkeypatch.setenv("AMQP_URL", "amqp://elsewhere/")
    monkeypatch.setattr(obtain, "UP_RECORD", up.instance.folder / "stack.json")

    assert json.loads(obtain.UP_RECORD.read_text())["own_servers"] == [up.database_url, up.amqp_url]
    assert obtain.given_database_url() is None
    assert obtain.given_amqp_url() == "amqp://elsewhere/"
