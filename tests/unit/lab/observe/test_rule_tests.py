"""promtool's unit tests run with the rules that they need, and a failure is an error with promtool's output."""

from pathlib import Path

import pytest
import yaml

from lab.observe.rule_tests import (
    UnitTestResult,
    expectations,
    needed_rules,
    passing_unit_tests,
    run_unit_tests,
)
from lab.observe.rules import RulesError

TESTS = """\
rule_files: [../rules.yml]
evaluation_interval: 1m
tests:
  - input_series: [{{series: a, values: 1x5}}]
    interval: 1m
    alert_rule_test:
      - {{alertname: Fires, eval_time: 1m, exp_alerts: [{{exp_labels: {{severity: {severity}}}}}]}}
      - {{alertname: Silent, eval_time: 1m, exp_alerts: []}}
"""
TESTED = """\
groups:
  - name: tested
    rules:
      - {alert: Fires, expr: a > 0, labels: {severity: page}}
      - {alert: Silent, expr: a > 1, labels: {severity: page}}
"""


def test_an_alert_is_tested_if_it_fires_in_a_unit_test(tmp_path: Path, promtool: str) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "rules.yml").write_text(TESTED)
    (tmp_path / "tests" / "a.yml").write_text(TESTS.format(severity="page"))
    assert list(expectations(TESTS.format(severity="page"))) == [("Fires", True), ("Silent", False)]
    assert run_unit_tests(promtool, tmp_path / "tests") == {"Fires"}
    assert passing_unit_tests(promtool, tmp_path / "tests") == UnitTestResult(frozenset({"Fires"}))


def test_when_a_test_fails_nothing_is_tested(tmp_path: Path, promtool: str) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "rules.yml").write_text(TESTED)
    (tmp_path / "tests" / "a.yml").write_text(TESTS.format(severity="ticket"))
    with pytest.raises(RulesError, match=r'(?s)fail:.*severity="page"'):
        run_unit_tests(promtool, tmp_path / "tests")

    found = passing_unit_tests(promtool, tmp_path / "tests")
    assert found.alerts == frozenset()
    assert 'severity="page"' in found.error


def test_missing_tests_missing_rules_and_a_missing_promtool_are_errors(tmp_path: Path) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    with pytest.raises(RulesError, match="holds no unit tests"):
        run_unit_tests("promtool", folder)
    (folder / "a.yml").write_text(TESTS.format(severity="page"))
    with pytest.raises(RulesError, match=r"a\.yml names the rule file \.\./rules\.yml, which cannot be read"):
        run_unit_tests("promtool", folder)
    (tmp_path / "rules.yml").write_text(TESTED)
    with pytest.raises(RulesError, match="cannot test"):
        run_unit_tests(str(tmp_path / "promtool"), folder)


STANDING = """\
groups:
  - name: recorded
    interval: 1m
    rules:
      - {record: "job:a:rate", expr: "rate(a[5m])"}
      - {record: "job:a:rate_ratio", expr: "job:a:rate / 2"}
      - {record: "job:b:rate", expr: "rate(b[5m])"}
  - name: alerts
    rules:
      - {alert: High, expr: "job:a:rate_ratio > 1"}
      - {alert: Other, expr: "job:b:rate > 1"}
"""


def test_the_rules_of_an_alert_are_itself_and_what_it_stands_on() -> None:
    groups = needed_rules(yaml.safe_load(STANDING), {"High"})["groups"]
    assert [group["name"] for group in groups] == ["recorded", "alerts"]
    assert groups[0]["interval"] == "1m"
    assert [rule.get("record", rule.get("alert")) for group in groups for rule in group["rules"]] == [
        "job:a:rate",
        "job:a:rate_ratio",
        "High",
    ]


def test_an_alert_that_the_file_does_not_have_needs_no_rule() -> None:
    assert needed_rules(yaml.safe_load(STANDING), {"Gone"})["groups"] == []
