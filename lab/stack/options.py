"""What a run of the local system may have otherwise than `make up`, for whoever torments it or looks at it closely."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


def _straight(url: str) -> str:
    return url


def _as_shipped(_name: str, text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class Variant:
    """`own_servers`: native ones of this run's own, whatever is given and whatever a Docker engine offers.

    `through` makes the address by which programs reach a server out of the server's own: a proxy of the caller's.
    `commands` are the command lines of programs, by name, that are not to be `waybill`'s.
    `watched` makes what Prometheus reads out of the name and the text of a file below deploy/prometheus.
    """

    own_servers: bool = False
    through: Callable[[str], str] = _straight
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    watched: Callable[[str, str], str] = _as_shipped


USUAL = Variant()
