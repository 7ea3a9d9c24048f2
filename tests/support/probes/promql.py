"""The names in a PromQL expression. This is no parser; promtool is one."""

import re
from dataclasses import dataclass

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_WINDOW = re.compile(r"\[[^\]]*\]")
_MATCHERS = re.compile(r"\{([^}]*)\}")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_NAME = re.compile(r"[A-Za-z_:][\w:]*(?!\s*\(|[\w:])")
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "by", "without", "sum", "min", "max", "count"})


@dataclass(frozen=True, slots=True)
class Names:
    """The series that an expression names, and the labels that it matches or groups by."""

    metrics: frozenset[str]
    labels: frozenset[str]


def names(expr: str) -> Names:
    """The names of an expression whose Grafana variables are replaced."""
    bare = _WINDOW.sub("", _STRING.sub('""', expr))
    matched = {pair.strip() for inside in _MATCHERS.findall(bare) for pair in inside.split(",") if pair.strip()}
    bare = _MATCHERS.sub("", bare)
    grouped = {label.strip() for inside in _GROUPING.findall(bare) for label in inside.split(",") if label.strip()}
    bare = _GROUPING.sub("", bare)
    labels = {re.split(r"[=!]", pair)[0].strip() for pair in matched} | grouped
    return Names(frozenset(_NAME.findall(bare)) - _WORDS, frozenset(labels))
