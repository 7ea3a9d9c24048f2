"""The whole system on this machine comes up, answers, and leaves nothing behind, also when it is stopped or fails."""

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from lab.stack.instance import Instance
from lab.stack.local import LocalStack
from tests.support.deadlines import ANSWER_SECONDS
from tests.support.paths import ROOT

WITHOUT_PROMETHEUS = """
import sys, time
from pathlib import Path
from lab.stack.local import LocalStack
from lab.stack.options import StackOptions
options = StackOptions(adapt_rules=lambda name, _: f"{name} is no configuration")
with LocalStack.fresh(Path(sys.argv[1]), options=options) as stack:
    print(stack.api_url, stack.prometheus_error, flush=True)
    time.sleep(600)
"""


def test_a_system_whose_prometheus_cannot_start_answers_and_leaves_nothing_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "AMQP_URL"):  # it starts servers of its own
        monkeypatch.delenv(name, raising=False)
    instance = Instance(tmp_path / "system")
    command = [sys.executable, "-c", WITHOUT_PROMETHEUS, str(instance.folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        api_url, error = run.stdout.readline().strip().split(" ", 1)
        assert "without Prometheus" in error
        assert httpx.get(api_url + "/readyz", timeout=ANSWER_SECONDS).status_code == 200
        assert LocalStack.read(instance.folder).healthy()
        run.send_signal(signal.SIGTERM)
        assert run.wait(60) == 128 + signal.SIGTERM

    assert instance.processes() == []
