"""A private Prometheus from the system's package: prepared below a folder, run as a `Program`.

It reads copies of the files in deploy/prometheus, so it runs the same jobs and rules as the container's. `prepare`
writes the targets, because only the stack knows their addresses. The system of `make up` sends alerts to the
Alertmanagers of the shipped file; that of a trial or a test sends none. The data, kept for a week and up to a gigabyte,
is below the folder as well. It listens on 127.0.0.1 only. Versions 2.42 (Debian 12's) and 3.x know every flag.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.stack.commands import answers
from lab.stack.errors import StackError
from lab.stack.program import Program

SHIPPED = Path(__file__).parents[3] / "deploy" / "prometheus"
CONFIG, RULES, ALERTMANAGERS = "prometheus.yml", "alerts.yml", "targets/alertmanagers.yml"
NO_ALERTMANAGERS = "[]\n"
RETENTION = ("--storage.tsdb.retention.time=7d", "--storage.tsdb.retention.size=1GB")


def binary(name: str = "prometheus") -> str:
    """The path of one of the package's programs. Raises StackError if it is not installed."""
    found = shutil.which(name)
    if found is None:
        raise StackError(
            f"{name} is not installed; run `sudo lab/stack/bootstrap.sh --servers`, which installs the package and "
            "starts no service, or put the programs prometheus and promtool into your PATH"
        )
    return found


def alerts_page(url: str) -> str:
    """The URL of the page of firing alerts: Debian's 2.x has only the classic pages."""
    return f"{url}/alerts" if answers(f"{url}/alerts") else f"{url}/classic/alerts"


def prepare(
    folder: Path,
    log: Path,
    port: int,
    targets: Mapping[str, Sequence[str]],
    adapt: Callable[[str, str], str],
    *,
    alerting: bool,
) -> Program:
    """Write the configuration below `folder`, and describe the program on `port`.

    `targets` are addresses (`host:port`) by job; `adapt` maps a shipped file's name and text to the text that is used.
    Without `alerting` no alert is sent, even if the shipped file names an Alertmanager. Raises StackError if Prometheus
    is not installed.
    """
    program = binary()
    (folder / "targets").mkdir(parents=True, exist_ok=True)
    for name in (CONFIG, RULES):
        (folder / name).write_text(adapt(name, (SHIPPED / name).read_text()))
    (folder / ALERTMANAGERS).write_text((SHIPPED / ALERTMANAGERS).read_text() if alerting else NO_ALERTMANAGERS)
    for job, addresses in targets.items():
        (folder / "targets" / f"{job}.yml").write_text(json.dumps([{"targets": list(addresses)}]))
    return Program(
        name="prometheus",
        command=(
            program,
            f"--config.file={folder / CONFIG}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            *RETENTION,
        ),
        log=log,
        ready=lambda: answers(f"http://127.0.0.1:{port}/-/ready"),
    )
