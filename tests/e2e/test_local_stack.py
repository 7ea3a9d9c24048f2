"""The whole system on this machine comes up, answers, and leaves nothing behind, also when it is stopped or fails."""

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from lab.stack.instance import Instance
from lab.stack.local import LocalStack
from lab.stack.options import StackOptions
from tests.support.deadlines import ANSWER_SECONDS
from tests.support.paths import ROOT

HOLD = """
import sys, time
from pathlib import Path
from lab.stack.local import LocalStack
with LocalStack.fresh(Path(sys.argv[1])) as stack:
    print(stack.api_url, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def no_given_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack starts servers of its own."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("AMQP_URL", raising=False)


def test_the_system_answers_and_a_run_asked_to_end_leaves_nothing(tmp_path: Path) -> None:
    instance = Instance(tmp_path / "one")
    command = [sys.executable, "-c", HOLD, str(instance.folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert httpx.get(run.stdout.readline().strip() + "/readyz", timeout=ANSWER_SECONDS).status_code == 200
        assert LocalStack.read(instance.folder).healthy()
        run.send_signal(signal.SIGTERM)
        assert run.wait(60) == 128 + signal.SIGTERM

    assert instance.processes() == []


def test_a_prometheus_that_cannot_start_is_reported_and_delays_no_program(tmp_path: Path) -> None:
    nonsense = StackOptions(adapt_rules=lambda name, _: f"{name} is no configuration")

    with LocalStack.fresh(tmp_path / "two", options=nonsense) as stack:
        assert "without Prometheus" in stack.prometheus_error
        assert stack.healthy()
