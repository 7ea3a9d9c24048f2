"""Where the programs of a running instance answer."""

from dataclasses import dataclass, field

from orders.workflow import POOLS

# Where a person finds things unless another program is there already: what the settings and compose.yaml name too.
PREFERRED_PORTS = {
    "api": 8080,
    "relay": 8081,
    "collector": 8082,
    **{f"worker-{pool}": port for port, pool in enumerate(POOLS, 8083)},
    "sap": 8090,
    "mail": 8025,
    "smtp": 2525,
}


@dataclass(frozen=True)
class Addresses:
    """What `stack.json` records: where everything of a running instance answers."""

    database_url: str
    amqp_url: str
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def urls(self) -> dict[str, str]:
        """The program's page for a person, by program."""
        ports = {"smtp" if key == "mail" else key: port for key, port in self.ports.items() if key != "smtp"}
        return {program: f"http://127.0.0.1:{port}" for program, port in ports.items()}
