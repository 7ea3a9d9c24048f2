"""The addresses of the programs of an instance."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from orders.workflow import POOLS

RECORD = "stack.json"  # in the instance's folder

_FIXED_PORTS = {
    "api": 8080,
    "relay": 8081,
    "collector": 8082,
    "sap": 8090,
    "mail": 8025,
    "smtp": 2525,
    "prometheus": 9090,
    "rabbitmq-metrics": 15692,
}
FIRST_WORKER_PORT = 8083


def preferred_ports(pools: Iterable[str]) -> dict[str, int]:
    """The ports that a start takes if they are free. The settings and compose.yaml name the same ones.

    The workers' ports count up in the order of the pools and leave out those of other programs.
    """
    of_workers = (port for port in itertools.count(FIRST_WORKER_PORT) if port not in _FIXED_PORTS.values())
    return {**_FIXED_PORTS, **{f"worker-{pool}": next(of_workers) for pool in pools}}


PREFERRED_PORTS = preferred_ports(POOLS)
# Ports that serve no page for people.
PAGELESS = ("smtp", "rabbitmq-metrics")


@dataclass(frozen=True)
class Addresses:
    """The content of `stack.json`: the addresses of everything in a running instance.

    `rabbitmq_metrics` (`host:port`) is the address of the broker's Prometheus plugin; empty if it is unknown.
    `own_servers` are the URLs of servers that the instance itself started, those of earlier starts included: a shell
    may still have them from `lab env`.
    """

    database_url: str
    amqp_url: str
    ports: dict[str, int] = field(default_factory=dict)
    rabbitmq_metrics: str = ""
    own_servers: list[str] = field(default_factory=list)

    @property
    def urls(self) -> dict[str, str]:
        """The URL of each program's page for people, by program."""
        ports = {"smtp" if key == "mail" else key: port for key, port in self.ports.items() if key not in PAGELESS}
        return {program: f"http://127.0.0.1:{port}" for program, port in ports.items()}

    @property
    def targets(self) -> dict[str, list[str]]:
        """The targets of Prometheus (`host:port`), by job as deploy/prometheus/targets names it."""
        programs = {
            **{job: [job] for job in ("api", "relay", "collector", "prometheus")},
            "worker": [f"worker-{pool}" for pool in POOLS],
        }
        ours = {job: [f"127.0.0.1:{self.ports[name]}" for name in names] for job, names in programs.items()}
        return {**ours, "rabbitmq": [self.rabbitmq_metrics] if self.rabbitmq_metrics else []}
