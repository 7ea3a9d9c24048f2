"""A share is a number where both its sides are known, and nothing where one is not."""

import json
import subprocess
from pathlib import Path

import pytest

from dashboards.queries import share

RULES = {"groups": [{"name": "share", "rules": [{"record": "share", "expr": share("part", "whole", of_nothing=1)}]}]}


@pytest.mark.parametrize(
    ("series", "shown"),
    [
        ({"part": 3, "whole": 4}, [0.75]),
        ({"part": 0, "whole": 4}, [0.0]),
        ({"part": 0, "whole": 0}, [1.0]),
        ({"whole": 0}, [1.0]),
        ({"whole": 4}, []),
        ({"part": 3}, []),
        ({}, []),
    ],
)
def test_unknown_values_do_not_look_healthy(
    series: dict[str, int], shown: list[float], tmp_path: Path, promtool: str
) -> None:
    asked = {
        "interval": "1m",
        "input_series": [{"series": name, "values": str(value)} for name, value in series.items()],
        "promql_expr_test": [
            {
                "expr": "share",
                "eval_time": "0m",
                "exp_samples": [{"labels": "share", "value": value} for value in shown],
            }
        ],
    }
    (tmp_path / "rules.yml").write_text(json.dumps(RULES))
    tests = tmp_path / "tests.yml"
    tests.write_text(json.dumps({"rule_files": ["rules.yml"], "tests": [asked]}))

    done = subprocess.run([promtool, "test", "rules", tests], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
