"""Where the programs of a running instance answer."""

from dataclasses import dataclass, field


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
