"""$filter: comparisons of string properties joined by `and`, as a lookup by reference needs them.

The rest of the OData grammar (or, not, functions, brackets) is answered with 501, as a service may. A comparison is
never silently dropped: a filter that matches too much would make its client adopt the document of another order.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lab.sandbox.sap.odata import refused

_TOKEN = re.compile(r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<word>[A-Za-z_][A-Za-z0-9_/]*)|(?P<other>\S))")


@dataclass(frozen=True, slots=True)
class Comparison:
    """`name eq 'value'`, or `ne` when not equal."""

    name: str
    equal: bool
    value: str

    def holds(self, properties: Mapping[str, str]) -> bool:
        """Whether the entity passes."""
        return (properties.get(self.name, "") == self.value) is self.equal


def parse_filter(text: str, filterable: Collection[str]) -> tuple[Comparison, ...]:
    """The comparisons of `text`; all of them must hold.

    Raises ODataError 400 for bad syntax or a property that is not filterable, 501 for grammar beyond `and`.
    """
    tokens = [match for match in _TOKEN.finditer(text) if match.lastgroup]
    comparisons = []
    for start in range(0, len(tokens), 4):
        name, operator, value, *joint = tokens[start : start + 4] + [None] * max(0, start + 3 - len(tokens))
        comparisons.append(_comparison(text, filterable, name, operator, value))
        if joint and joint[0] is not None:
            _require_and(text, joint[0], is_last=start + 4 >= len(tokens))
    if not comparisons:
        raise _malformed(text, "it is empty")
    return tuple(comparisons)


def _comparison(
    text: str,
    filterable: Collection[str],
    name: re.Match[str] | None,
    operator: re.Match[str] | None,
    value: re.Match[str] | None,
) -> Comparison:
    if name is not None and (name["other"] == "(" or name["word"] in {"not", "startswith", "substringof"}):
        raise _beyond(text, name[0].strip())
    if name is None or not name["word"]:
        raise _malformed(text, "a property name is missing")
    if name["word"] not in filterable:
        raise refused("005056A509B11EE1B9A8FEA8DE87F78E", f"Property {name['word']} is not filterable", name["word"])
    if operator is None or operator["word"] not in {"eq", "ne"}:
        raise _beyond(text, operator[0].strip() if operator else "nothing where an operator belongs")
    if value is None or not value["text"]:
        raise _malformed(text, f"{name['word']} needs a value in single quotes")
    return Comparison(name["word"], operator["word"] == "eq", value["text"][1:-1].replace("''", "'"))


def _require_and(text: str, joint: re.Match[str], *, is_last: bool) -> None:
    if joint["word"] == "or":
        raise _beyond(text, "or")
    if joint["word"] != "and" or is_last:
        raise _malformed(text, f"unexpected {joint[0].strip()!r}")


def _malformed(text: str, why: str) -> Exception:
    return refused("/IWFND/CM_MGW_RT/021", f"Invalid $filter {text!r}: {why}", "$filter")


def _beyond(text: str, what: str) -> Exception:
    return refused("/IWBEP/CM_V2/501", f"$filter {text!r}: {what!r} is not supported", "$filter", status=501)
