"""deploy/prometheus: one scrape config for the container and the local stack, with targets that exist."""

import subprocess
from typing import Any

import pytest
import yaml

from lab.stack.addresses import PREFERRED_PORTS, Addresses
from tests.support.paths import ROOT

FOLDER = ROOT / "deploy" / "prometheus"
CONFIG: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
JOBS = [job["job_name"] for job in CONFIG["scrape_configs"]]


def test_promtool_has_nothing_to_say_against_it() -> None:
    checked = subprocess.run(
        ["promtool", "check", "config", FOLDER / "prometheus.yml"], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "WARNING" not in checked.stdout + checked.stderr


@pytest.mark.parametrize("job", JOBS)
def test_each_job_reads_its_targets_from_the_file_of_its_name(job: str) -> None:
    (scraped,) = (one for one in CONFIG["scrape_configs"] if one["job_name"] == job)

    assert scraped["file_sd_configs"] == [{"files": [f"targets/{job}.yml"]}]
    assert not set(scraped) & {"scrape_interval", "scrape_timeout", "static_configs"}, "observe hastens the global one"


def test_the_local_stack_has_targets_for_the_same_jobs() -> None:
    assert set(Addresses("", "", PREFERRED_PORTS, "127.0.0.1:15692").targets) == set(JOBS)
    assert {file.stem for file in (FOLDER / "targets").glob("*.yml")} == {*JOBS, "alertmanagers"}


def test_no_alertmanager_is_named_and_one_line_would_do() -> None:
    (found,) = CONFIG["alerting"]["alertmanagers"]

    assert found == {"file_sd_configs": [{"files": ["targets/alertmanagers.yml"]}]}
    assert yaml.safe_load((FOLDER / "targets" / "alertmanagers.yml").read_text()) == []
