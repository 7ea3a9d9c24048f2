"""The shipped files with scaled times."""

import re

import pytest
import yaml

from lab.observe.rules import alerts_of
from lab.observe.time_scaling import FACTOR, scaled_file
from lab.stack.servers.prometheus import CONFIG, RULES, SHIPPED

TIMES = re.compile(r"\d+(ms|[smhdw])+")


def shipped(name: str) -> str:
    return (SHIPPED / name).read_text()


def test_prometheus_scrapes_every_second_and_nothing_else_of_the_config_is_changed() -> None:
    before, after = yaml.safe_load(shipped(CONFIG)), yaml.safe_load(scaled_file(CONFIG, shipped(CONFIG)))

    assert after.pop("global") == {"scrape_interval": "1s", "evaluation_interval": "1s"}
    assert before.pop("global") == {"scrape_interval": "15s", "evaluation_interval": "15s"}
    assert after == before


def test_the_rules_keep_their_expressions_but_for_the_times() -> None:
    before, after = (yaml.safe_load(text)["groups"] for text in (shipped(RULES), scaled_file(RULES, shipped(RULES))))

    assert FACTOR > 1
    for old_group, new_group in zip(before, after, strict=True):
        for old, new in zip(old_group["rules"], new_group["rules"], strict=True):
            assert TIMES.sub("", new["expr"]) == TIMES.sub("", old["expr"])
            assert old.get("for") != new.get("for") or old.get("for") is None
    assert alerts_of(scaled_file(RULES, shipped(RULES))) == alerts_of(shipped(RULES))


def test_a_config_whose_intervals_are_not_found_is_refused() -> None:
    with pytest.raises(ValueError, match="0 global intervals"):
        scaled_file(CONFIG, "scrape_configs: []\n")
