"""A private Prometheus from the system's package: prepared below a folder, run as a `Program`.

It reads copies of what deploy/prometheus ships, so that this one and the container's run the same jobs and the same
rules; the targets are written here, because only here is known where they answer. Whom to tell of alerts is the
shipped file's to say for a system that is meant to run; a demo's or a test's tells nobody. Data, which is kept for a
week and up to a gigabyte, lies below the folder as well; it listens on 127.0.0.1 alone. Every flag is one that 2.42
(Debian 12's) and 3.x know.
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
NOBODY = "[]\n"
RETENTION = ("--storage.tsdb.retention.time=7d", "--storage.tsdb.retention.size=1GB")


def binary(name: str = "prometheus") -> str:
    """The path of one of the package's programs. Raises StackError when it is not installed."""
    found = shutil.which(name)
    if found is None:
        raise StackError(
            f"{name} is not installed; run `sudo lab/stack/bootstrap.sh --servers`, which installs the package and "
            "starts no service, or put the programs prometheus and promtool into your PATH"
        )
    return found


def alerts_page(url: str) -> str:
    """Where the Prometheus at `url` shows what fires: Debian's 2.x comes without the pages that others have."""
    return f"{url}/alerts" if answers(f"{url}/alerts") else f"{url}/classic/alerts"


def prepare(
    folder: Path,
    log: Path,
    port: int,
    targets: Mapping[str, Sequence[str]],
    adapt: Callable[[str, str], str],
    *,
    tells: bool,
) -> Program:
    """Write below `folder` what it reads, and describe the program on `port`.

    `targets` are addresses (`host:port`) by job; `adapt` makes what is read out of a shipped file's name and text.
    Without `tells` no Alertmanager hears of anything, whichever is named in what is shipped. Raises StackError when
    Prometheus is not installed.
    """
    program = binary()
    (folder / "targets").mkdir(parents=True, exist_ok=True)
    for name in (CONFIG, RULES):
        (folder / name).write_text(adapt(name, (SHIPPED / name).read_text()))
    (folder / ALERTMANAGERS).write_text((SHIPPED / ALERTMANAGERS).read_text() if tells else NOBODY)
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
