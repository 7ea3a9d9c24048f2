"""Options of a local system that `make up` does not use: for the trials, which disturb the system or observe it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


def _direct(url: str) -> str:
    return url


def _as_shipped(_name: str, text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class StackOptions:
    """`own_servers`: start native servers, even if servers are given or a Docker engine answers.

    `through` maps the URL of a server to the URL that programs use: that of a proxy of the caller's.
    `commands` replaces the command lines of programs, by their names.
    `adapt_rules` maps the name and text of a file below deploy/prometheus to the text that Prometheus reads.
    """

    own_servers: bool = False
    through: Callable[[str], str] = _direct
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    adapt_rules: Callable[[str, str], str] = _as_shipped


DEFAULT_OPTIONS = StackOptions()
