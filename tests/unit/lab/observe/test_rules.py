"""A scaled rule file is the shipped one with its times divided and nothing else changed."""

import re
from fractions import Fraction

import pytest
import yaml

from lab.observe.rules import RulesError, alerts_of, scaled
from tests.support.paths import ROOT

SHIPPED = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
FACTOR = 30

RULES = """\
groups:
  - name: a group [5m]
    interval: 30s
    rules:
      - record: job:a:rate5m
        expr: rate(a{b="[5m]", c='offset 5m', d=`[5m]`}[5m] offset 10m)
      - alert: Late
        # [5m] for: 5m
        expr: |-
          max_over_time(job:a:rate5m[1h:1m])  # not [5m]
          > sum_over_time(a[ 1h30m : ] offset -2m) / 300 or a[1d:]
        for: 5m
        keep_firing_for: "10m"
        annotations: { summary: "over 5m, [5m] offset 5m", description: 'for: 5m' }
      - { alert: Quoted, expr: 'increase(a{b="x"}[1w]) > 0', for: 0s }
"""
IN_A_HURRY = """\
groups:
  - name: a group [5m]
    interval: 1s
    rules:
      - record: job:a:rate5m
        expr: rate(a{b="[5m]", c='offset 5m', d=`[5m]`}[10s] offset 20s)
      - alert: Late
        # [5m] for: 5m
        expr: |-
          max_over_time(job:a:rate5m[2m:2s])  # not [5m]
          > sum_over_time(a[ 3m : ] offset -4s) / 300 or a[48m:]
        for: 10s
        keep_firing_for: "20s"
        annotations: { summary: "over 5m, [5m] offset 5m", description: 'for: 5m' }
      - { alert: Quoted, expr: 'increase(a{b="x"}[5h36m]) > 0', for: 0s }
"""


def test_each_time_is_divided_and_no_other_text() -> None:
    assert scaled(RULES, FACTOR) == IN_A_HURRY


def test_the_shipped_file_comes_back_when_it_is_multiplied_again() -> None:
    hurried = scaled(SHIPPED, FACTOR)
    assert hurried != SHIPPED
    assert scaled(hurried, Fraction(1, FACTOR)) == SHIPPED
    assert alerts_of(hurried) == alerts_of(SHIPPED)


def test_every_wait_and_every_window_of_the_shipped_file_is_divided() -> None:
    """By another way than the code's: every duration in the loaded rules."""

    def seconds(text: str) -> list[int]:
        units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
        rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
        found = [re.findall(r"[\[ ](?:\d+[dhms])+\b", f"{rule['expr']} {rule.get('for', '')}") for rule in rules]
        return [
            sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([dhms])", one))
            for times in found
            for one in times
        ]

    slow, quick = seconds(SHIPPED), seconds(scaled(SHIPPED, FACTOR))
    assert len(slow) > 80
    assert [one * FACTOR for one in quick] == slow


@pytest.mark.parametrize(
    ("factor", "reported"), [(7, "whole milliseconds"), (31, "at least one second"), (0, "above 0")]
)
def test_a_factor_that_would_leave_no_exact_time_or_none_to_see_is_refused(factor: int, reported: str) -> None:
    with pytest.raises(RulesError, match=reported):
        scaled(RULES, factor)


def test_an_expression_with_escapes_of_yaml_is_refused_with_its_line() -> None:
    with pytest.raises(RulesError, match="line 2"):
        scaled('groups: [{rules: [\n  {record: a, expr: "rate(a{b=\\"c\\"}[5m])"}]}]', FACTOR)


@pytest.mark.parametrize("text", ["a: [", "", "- a"])
def test_a_file_that_is_no_rule_file_is_refused(text: str) -> None:
    with pytest.raises(RulesError):
        alerts_of(text)


def test_alerts_are_listed_in_the_files_order() -> None:
    assert alerts_of(RULES) == ["Late", "Quoted"]
