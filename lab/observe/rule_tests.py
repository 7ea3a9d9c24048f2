"""promtool's unit tests of the alert rules, each file run with the rules that it needs.

promtool evaluates every rule of the rule file at each step of each test, for the tests' time: minutes to days. A test
asks for a few alerts. So each file is run on a copy of the rules that holds the alerts it asks for and the recording
rules they stand on, which takes a fifth of the CPU. An alert reads no other alert, so no result changes. Called by the
trial (`lab.observe.run`) and by the tests.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.observe.rules import RulesError, loaded

TEST_SECONDS = 300.0
Rule = dict[str, Any]


@dataclass(frozen=True, slots=True)
class UnitTestResult:
    """The result of the unit tests: the `alerts` that fire in one; or none and the `error` when any test fails."""

    alerts: frozenset[str]
    error: str = ""


def passing_unit_tests(promtool: str, folder: Path) -> UnitTestResult:
    """As `run_unit_tests`, but a failure is returned and not raised."""
    try:
        return UnitTestResult(frozenset(run_unit_tests(promtool, folder)))
    except RulesError as error:
        return UnitTestResult(frozenset(), str(error))


def run_unit_tests(promtool: str, folder: Path) -> set[str]:
    """Run promtool's unit tests, every file of `folder`; returns the alerts that one of them makes fire.

    Raises RulesError with promtool's output when any test fails.
    """
    files = sorted(folder.glob("*.yml"))
    if not files:
        raise RulesError(f"{folder} holds no unit tests (*.yml)")
    for file in files:
        run_unit_test(promtool, file)
    return {alert for file in files for alert, fires in expectations(file.read_text()) if fires}


def run_unit_test(promtool: str, file: Path) -> None:
    """Run promtool's unit tests of one file. Raises RulesError with promtool's output when any fails."""
    tests = loaded(file.read_text())
    alerts = {alert for alert, _ in expectations(file.read_text())}
    with tempfile.TemporaryDirectory() as folder:
        rules = [
            _write(Path(folder) / f"rules-{number}.yml", needed_rules(_rules_of(file, name), alerts))
            for number, name in enumerate(tests.get("rule_files", ()))
        ]
        copy = _write(Path(folder) / file.name, {**tests, "rule_files": rules})
        try:
            done = subprocess.run(
                [promtool, "test", "rules", copy], capture_output=True, text=True, check=False, timeout=TEST_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RulesError(f"promtool cannot test {file}: {error}") from error
    if done.returncode != 0:
        raise RulesError(f"promtool's tests in {file} fail:\n{done.stdout}{done.stderr}")


def needed_rules(rules: dict[str, Any], alerts: set[str]) -> dict[str, Any]:
    """A rule file with these alerts alone, and the recording rules that they stand on, in the file's groups and order.

    An alert that the file does not have is no error here: promtool finds that it does not fire.
    """
    every: list[Rule] = [rule for group in rules.get("groups", ()) for rule in group["rules"]]
    kept = [rule for rule in every if rule.get("alert") in alerts]
    for rule in kept:  # grows: what a recording rule stands on is needed as well
        kept += [one for one in every if one not in kept and _reads(str(rule["expr"]), one.get("record"))]
    groups = [
        {**group, "rules": [rule for rule in group["rules"] if rule in kept]} for group in rules.get("groups", ())
    ]
    return {**rules, "groups": [group for group in groups if group["rules"]]}


def expectations(text: str) -> Iterator[tuple[str, bool]]:
    """Each expectation of a file of unit tests: the alert, and whether it has to fire. Raises RulesError."""
    for test in loaded(text).get("tests", ()):
        for expectation in test.get("alert_rule_test", ()):
            yield str(expectation["alertname"]), bool(expectation.get("exp_alerts"))


def _rules_of(file: Path, name: str) -> dict[str, Any]:
    try:
        return loaded((file.parent / name).read_text())
    except OSError as error:
        raise RulesError(f"{file} names the rule file {name}, which cannot be read: {error}") from error


def _reads(expression: str, recorded: str | None) -> bool:
    """Whether an expression names a recorded series; a name in a string or a comment is read too many, and harmless."""
    return recorded is not None and re.search(rf"(?<![\w:]){re.escape(recorded)}(?![\w:])", expression) is not None


def _write(path: Path, content: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)
