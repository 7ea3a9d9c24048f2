"""`make help` lists the targets, and each target runs the command that it promises."""

import os
import re
import shlex
import subprocess

from tests.support.paths import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()


def test_help_lists_every_target_with_a_sentence() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    listed = dict(
        re.findall(
            r"^  make ([a-z-]+) +(.+\.)$",
            subprocess.run(
                ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout,
            re.MULTILINE,
        )
    )

    assert targets == set(listed)
    assert {"demo", "test", "check", "up", "down", "status", "doctor", "lock", "clean", "help"} <= targets


def test_the_gate_runs_the_checks_and_then_the_tests() -> None:
    commands = (ROOT / ".ci" / "run").read_text().splitlines()

    assert commands.index("make check") < commands.index("make test")
    assert "set -euo pipefail" in commands


def would_run(target: str, *variables: str) -> str:
    """The last command that a target would run, whatever variables `make test` was given: they reach this process."""
    inherited = {"MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "ARGS"}
    result = subprocess.run(
        ["make", "--no-print-directory", "-n", target, *variables],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in inherited},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.splitlines()[-1].removeprefix("  ")


def test_files_that_share_a_given_broker_run_one_after_the_other() -> None:
    assert "--numprocesses 3" in would_run("test", "AMQP_URL=")
    assert "--numprocesses 0" in would_run("test", "AMQP_URL=amqp://user:password@broker/")


def test_dead_letters_are_chosen_by_variables_that_the_shell_takes_as_words() -> None:
    command = would_run(
        "replay-dead-letters", "QUEUE=it's; ls", "SINCE=2026-03-01 12:00", "RATE=5/s", "WHY=a, b & `c`", "DRY_RUN=1"
    )
    words = shlex.split(command)
    assert words[1:] == [
        "dead-letters", "replay", "--queue", "it's; ls", "--since", "2026-03-01 12:00", "--rate", "5/s",
        "--why", "a, b & `c`", "--dry-run",
    ]  # fmt: skip
    assert shlex.split(would_run("replay-dead-letters", "QUEUE=all", "DRY_RUN=0"))[1:] == [
        "dead-letters",
        "replay",
        "--all",
    ]
    assert shlex.split(would_run("discard-dead-letters", "QUEUE=sap", "WHY=a test"))[1:] == [
        "dead-letters", "discard", "--queue", "sap", "--why", "a test",
    ]  # fmt: skip
    assert shlex.split(would_run("dead-letters", "QUEUE=all"))[1:] == ["dead-letters", "list"]


def test_dead_letters_are_neither_replayed_nor_discarded_without_a_queue() -> None:
    for target in ("replay-dead-letters", "discard-dead-letters"):
        assert f"make {target} QUEUE=sap" in would_run(target)
        assert would_run(target).endswith("exit 2")
    assert "Give the reason" in would_run("discard-dead-letters", "QUEUE=sap")
