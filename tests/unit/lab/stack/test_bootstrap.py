"""The effects of lab/stack/bootstrap.sh on a machine whose package manager and services are the test's own."""

import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SCRIPT = ROOT / "lab" / "stack" / "bootstrap.sh"
# The machine: below $ROOT, with only the files that the test makes.
MACHINE = """
source "$SCRIPT"
POLICY=$ROOT/policy-rc.d UNITS=$ROOT/systemd RUNLEVEL=$ROOT/rc2.d
root() { false; }
has_apt() { true; }
has_venv() { [ -e "$ROOT/python3-venv" ]; }
has_prometheus() { [ -e "$ROOT/prometheus" ]; }
has_rabbitmq() { [ -e "$ROOT/rabbitmq-server" ]; }
docker_answers() { false; }
systemctl() { echo "systemctl $*" >>"$ROOT/reported"; }
update-rc.d() { echo "update-rc.d $*" >>"$ROOT/reported"; }
# The package enables its service, and would start it unless the policy forbids that.
apt_install() {
  local package
  for package; do
    touch "$ROOT/$package"
    if [ "$package" = python3-venv ]; then continue; fi
    touch "$UNITS/multi-user.target.wants/$package.service" "$RUNLEVEL/S01$package"
    sh "$POLICY" || echo "policy of $package: $?" >>"$ROOT/reported"
  done
}
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with one service that starts at each boot."""
    for folder in ("systemd/multi-user.target.wants", "rc2.d"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "systemd/multi-user.target.wants/cron.service").touch()
    (tmp_path / "rc2.d/S02cron").touch()
    return tmp_path


def run(machine: Path, words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": "/usr/bin:/bin", "SCRIPT": str(SCRIPT), "ROOT": str(machine), **environment}
    command = ["bash", "-c", f"{MACHINE}\n{words}"]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=30)


def reported(machine: Path) -> list[str]:
    return sorted((machine / "reported").read_text().splitlines())


def test_services_of_new_packages_start_neither_now_nor_at_boot_and_others_stay_enabled(machine: Path) -> None:
    done = run(machine, "root() { true; }; main --servers")

    assert done.returncode == 0, done.stderr
    assert reported(machine) == [
        "policy of prometheus: 101",
        "policy of rabbitmq-server: 101",
        "systemctl disable prometheus.service",
        "systemctl disable rabbitmq-server.service",
        "update-rc.d prometheus disable",
        "update-rc.d rabbitmq-server disable",
    ]


def test_a_service_that_was_enabled_before_stays_so(machine: Path) -> None:
    (machine / "prometheus").touch()
    (machine / "rc2.d" / "S01prometheus").touch()
    (machine / "systemd" / "multi-user.target.wants" / "prometheus.service").touch()

    assert run(machine, "root() { true; }; main --servers").returncode == 0
    assert not [line for line in reported(machine) if "prometheus" in line]


@pytest.mark.parametrize("installation", ["true", "false"])
def test_the_machines_own_policy_is_back_afterwards(machine: Path, installation: str) -> None:
    (machine / "policy-rc.d").write_text("its own\n")

    (machine / "rabbitmq-server").touch()
    done = run(
        machine, f"root() {{ true; }}; apt_install() {{ touch $ROOT/prometheus; {installation}; }}; main --servers"
    )

    assert (done.returncode == 0) is (installation == "true"), done.stderr
    assert (machine / "policy-rc.d").read_text() == "its own\n"


def test_a_user_other_than_root_gets_the_command_that_starts_no_service(machine: Path) -> None:
    done = run(machine, "main")
    assert done.returncode == 1
    assert "prometheus rabbitmq-server missing; run: sudo lab/stack/bootstrap.sh --servers" in done.stderr

    given = run(machine, "main", AMQP_URL="amqp://broker/")
    assert "prometheus missing; run: sudo --preserve-env=AMQP_URL lab/stack/bootstrap.sh --servers" in given.stderr


def test_without_apt_get_the_error_names_the_packages_to_install_by_hand(machine: Path) -> None:
    done = run(machine, "has_apt() { false; }; main")

    assert done.returncode == 1
    assert "there is no apt-get; install by hand: prometheus rabbitmq-server" in done.stderr


def test_the_option_installs_the_system_packages_only(machine: Path) -> None:
    done = run(machine, "root() { true; }; install_python_packages() { touch $ROOT/venv; }; main --servers")

    assert done.returncode == 0, done.stderr
    assert {"python3-venv", "prometheus", "rabbitmq-server"} <= {path.name for path in machine.iterdir()}
    assert not (machine / "venv").exists()


def test_an_unknown_option_installs_nothing(machine: Path) -> None:
    done = run(machine, "root() { true; }; main --server")

    assert done.returncode == 1
    assert "--server is not an option" in done.stderr
    assert not (machine / "prometheus").exists()


@pytest.mark.parametrize(("usable", "chosen"), [("true", "/usr/bin/python3.11"), ("false", "python3")])
def test_the_distributions_python_comes_first_if_it_can_make_an_environment(
    machine: Path, usable: str, chosen: str
) -> None:
    words = f"has_venv() {{ {usable}; }}; choose_python; echo $PYTHON"

    assert run(machine, words).stdout.strip() == chosen
    assert run(machine, words, PYTHON="/opt/python").stdout.strip() == "/opt/python"


def test_an_environment_of_another_python_is_made_anew_if_that_is_asked_for(machine: Path) -> None:
    words = (
        'cd "$ROOT"; mkdir -p .venv/bin; ln -sf "$(command -v python3)" .venv/bin/python; touch .venv/bin/lab; '
        'chmod +x .venv/bin/lab; fingerprint() { echo same; }; fingerprint >"$STAMP"; '
        "make_venv() { echo made anew; exit; }; install_python_packages"
    )
    other = machine / "python"
    other.write_text('#!/bin/sh\ncase "$2" in *base_prefix*) echo another;; esac\n')
    other.chmod(0o755)

    assert run(machine, words).stdout == ""
    assert "made anew" in run(machine, words, PYTHON=str(other)).stdout
    assert run(machine, words, PYTHON="/usr/bin/python3").stdout == ""
