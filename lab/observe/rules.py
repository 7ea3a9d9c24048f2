"""Rule files as text: their times divided by one factor, and their alerts. Pure.

An alert waits for as many minutes as `make observe` has, so it loads the shipped file on a shortened clock: each range,
subquery step, `offset`, `for`, `keep_firing_for` and group `interval` is divided by one factor. No other character is
changed, numbers in seconds and texts for people included. YAML gives the place of each expression, and strings and
comments within it are skipped, so only times are divided.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import yaml

from ops.errors import OpsError

# The one alert that always fires: when it stops arriving, alerts do not arrive.
WATCHDOG = "WaybillWatchdog"
# Prometheus scrapes once a second here; a shorter time holds no sample.
SHORTEST_MS = 1000

# Longest first. Weeks and years are read and never written: three days are clearer than parts of a week.
_UNITS_MS = {
    "y": 31_536_000_000,
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_WRITTEN = ("d", "h", "m", "s", "ms")
_LONG = r"(?:\d+(?:ms|[ywdhms]))+"
_DURATION = re.compile(_LONG)
_PART = re.compile(r"(\d+)(ms|[ywdhms])")
# Strings and comments come first, so that nothing is found within them.
_TIMES = re.compile(
    r"""(?P<skipped>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`|\#[^\n]*)"""
    rf"|\[\s*{_LONG}\s*(?::\s*(?:{_LONG})?\s*)?\]"
    rf"|\boffset\s+-?\s*{_LONG}"
)
WAITS = ("for", "keep_firing_for")


class RulesError(OpsError):
    """A rule file cannot be read, cannot be divided, or fails its tests; the text says where and why."""


def scaled(text: str, factor: int | Fraction) -> str:
    """A rule file's text with each time that Prometheus measures divided by `factor`.

    Raises RulesError for a time that would be no whole number of milliseconds, or less than a second.
    """
    if factor <= 0:
        raise RulesError(f"a factor of {factor} divides nothing; it must be above 0")
    pieces, end = [], 0
    for node, times in sorted(_timed(_composed(text)), key=lambda one: one[0].start_mark.index):
        begin, stop = _inside(node, text)
        pieces += [text[end:begin], times.sub(lambda found: _divided(found, factor), text[begin:stop])]
        end = stop
    return "".join([*pieces, text[end:]])


def alerts_of(text: str) -> list[str]:
    """The names of a rule file's alerts, in its order. Raises RulesError."""
    return [
        str(rule["alert"]) for group in loaded(text).get("groups", ()) for rule in group["rules"] if "alert" in rule
    ]


def loaded(text: str) -> dict[str, Any]:
    """A rule file, or a file of tests of rules. Raises RulesError."""
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RulesError(f"not YAML: {error}") from error
    if not isinstance(loaded, dict):
        raise RulesError("neither rules nor tests of rules: the file holds no mapping")
    return loaded


def _composed(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise RulesError(f"not YAML: {error}") from error


def _timed(root: yaml.Node | None) -> Iterator[tuple[yaml.ScalarNode, re.Pattern[str]]]:
    """Where a file has times, and what is one there: groups' intervals, rules' waits, and expressions."""
    for group in _items(_value(root, "groups")):
        rules = _items(_value(group, "rules"))
        waits = [_value(group, "interval"), *(_value(rule, key) for rule in rules for key in WAITS)]
        yield from ((wait, _DURATION) for wait in waits if isinstance(wait, yaml.ScalarNode))
        expressions = [_value(rule, "expr") for rule in rules]
        yield from ((expression, _TIMES) for expression in expressions if isinstance(expression, yaml.ScalarNode))


def _inside(node: yaml.ScalarNode, text: str) -> tuple[int, int]:
    """Where a scalar's text begins and ends, without YAML's quotes, which are no quotes of PromQL."""
    begin, stop = node.start_mark.index, node.end_mark.index
    if node.style == '"' and "\\" in text[begin:stop]:
        raise RulesError(f"line {node.start_mark.line + 1}: an expression with escapes; write it as a block (|-)")
    return (begin + 1, stop - 1) if node.style in {"'", '"'} else (begin, stop)


def _value(node: yaml.Node | None, key: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((value for name, value in pairs if name.value == key), None)


def _items(node: yaml.Node | None) -> list[yaml.Node]:
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _divided(found: re.Match[str], factor: int | Fraction) -> str:
    if found.re is _TIMES and found["skipped"]:
        return found[0]
    return _DURATION.sub(lambda duration: _quotient(duration[0], factor), found[0])


def _quotient(duration: str, factor: int | Fraction) -> str:
    milliseconds = sum(int(number) * _UNITS_MS[unit] for number, unit in _PART.findall(duration))
    if not milliseconds:
        return duration  # no time at all stays none
    quotient = Fraction(milliseconds) / factor
    if quotient.denominator != 1 or quotient < SHORTEST_MS:
        raise RulesError(
            f"{duration} divided by {factor} is {float(quotient) / 1000:g} s; it must be whole milliseconds and at "
            "least one second: take another factor, or let the rules wait for longer"
        )
    return _written(int(quotient))


def _written(milliseconds: int) -> str:
    """As Prometheus writes it: 1m30s."""
    parts = []
    for unit in _WRITTEN:
        number, milliseconds = divmod(milliseconds, _UNITS_MS[unit])
        parts.append(f"{number}{unit}" if number else "")
    return "".join(parts)
