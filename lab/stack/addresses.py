"""Where the programs of a running instance answer."""

from dataclasses import dataclass, field

from orders.workflow import POOLS

RECORD = "stack.json"  # of an instance: its addresses

# Where a person finds things unless another program is there already: what the settings and compose.yaml name too.
PREFERRED_PORTS = {
    "api": 8080,
    "relay": 8081,
    "collector": 8082,
    **{f"worker-{pool}": port for port, pool in enumerate(POOLS, 8083)},
    "sap": 8090,
    "mail": 8025,
    "smtp": 2525,
    "prometheus": 9090,
    "rabbitmq-metrics": 15692,
}
# Ports that have no page for a person.
PAGELESS = ("smtp", "rabbitmq-metrics")


@dataclass(frozen=True)
class Addresses:
    """What `stack.json` records: where everything of a running instance answers.

    `rabbitmq_metrics` (`host:port`) is where the broker's own Prometheus plugin does; empty where nobody has said.
    `own_servers` are the URLs of servers that were started here and not given, those of earlier starts too: a shell
    may still have them from `lab env`.
    """

    database_url: str
    amqp_url: str
    ports: dict[str, int] = field(default_factory=dict)
    rabbitmq_metrics: str = ""
    own_servers: list[str] = field(default_factory=list)

    @property
    def urls(self) -> dict[str, str]:
        """The program's page for a person, by program."""
        ports = {"smtp" if key == "mail" else key: port for key, port in self.ports.items() if key not in PAGELESS}
        return {program: f"http://127.0.0.1:{port}" for program, port in ports.items()}

    @property
    def targets(self) -> dict[str, list[str]]:
        """Whom Prometheus asks (`host:port`), by job: the names of deploy/prometheus/targets."""
        programs = {
            **{job: [job] for job in ("api", "relay", "collector", "prometheus")},
            "worker": [f"worker-{pool}" for pool in POOLS],
        }
        ours = {job: [f"127.0.0.1:{self.ports[name]}" for name in names] for job, names in programs.items()}
        return {**ours, "rabbitmq": [self.rabbitmq_metrics] if self.rabbitmq_metrics else []}
