"""The configuration of supervisord."""

from configparser import RawConfigParser
from pathlib import Path

import pytest

from lab.stack.errors import StackError
from lab.stack.instance import Instance
from lab.stack.program import Program
from lab.stack.supervisor import Supervisor, process_table


def table(program: Program, folder: Path) -> RawConfigParser:
    parser = RawConfigParser()
    parser.read_string(process_table(Instance(folder), {"apps": [program]}, 1234, "secret", folder))
    return parser


def test_only_the_main_process_gets_the_signal_and_its_whole_group_is_killed(tmp_path: Path) -> None:
    section = table(Program("worker-sap", ("celery",), tmp_path / "log"), tmp_path)["program:worker-sap"]

    assert section["stopasgroup"] == "false"
    assert section["killasgroup"] == "true"
    assert section["stopsignal"] == "TERM"
    assert section["autorestart"] == "true"


def test_a_percent_sign_in_a_path_is_no_expansion(tmp_path: Path) -> None:
    section = table(Program("api", ("run", "100%"), tmp_path / "a%b"), tmp_path)["program:api"]

    assert section["command"] == '"run" "100%%"'
    assert section["stdout_logfile"].endswith("a%%b")


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\nb"])
def test_a_value_that_the_file_cannot_express_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(StackError, match="cannot express"):
        table(Program("api", ("run",), tmp_path / "log", {"NAME": value}), tmp_path)


def test_control_is_on_loopback_and_behind_a_password(tmp_path: Path) -> None:
    section = table(Program("api", ("run",), tmp_path / "log"), tmp_path)["inet_http_server"]

    assert section["port"] == "127.0.0.1:1234"
    assert section["password"] == "secret"


def test_no_supervisord_answers_before_a_start(tmp_path: Path) -> None:
    supervisor = Supervisor(Instance(tmp_path))

    assert not supervisor.answers()
    assert supervisor.states() == []


def test_the_environment_of_one_program_is_in_its_section(tmp_path: Path) -> None:
    section = table(Program("worker-sap", ("run",), tmp_path / "log", {"PORT": "8084"}), tmp_path)["program:worker-sap"]

    assert section["environment"] == 'PORT="8084"'
