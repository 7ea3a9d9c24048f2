"""The whole system on this machine: servers, sandboxes, API, relay and workers, as one instance folder.

Order of a start: PostgreSQL, RabbitMQ and the sandboxes at once; migrations while RabbitMQ boots; then the topology,
then everything else, with Prometheus last, which nobody needs: a start without it is one. `up` leaves it running and
`down` stops it; `fresh` gives a caller a system with no history and takes it away again. Where DATABASE_URL and
AMQP_URL are given, or a Docker engine answers, those servers are used and the table holds the rest.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from lab.stack.addresses import PREFERRED_PORTS, RECORD, Addresses
from lab.stack.commands import ROOT, answers, run_command
from lab.stack.errors import StackError
from lab.stack.instance import Instance
from lab.stack.options import USUAL, Variant
from lab.stack.ports import free_port
from lab.stack.program import Program, wait_ready
from lab.stack.programs import StackPrograms
from lab.stack.servers import docker
from lab.stack.servers.borrowed import demo_database, refuse_loaded_broker
from lab.stack.servers.obtain import given_amqp_url, given_database_url, stack_servers
from lab.stack.signals import ending_on_sigterm, signals_held_back
from lab.stack.supervisor import ProgramState, Supervisor
from ops.errors import ServerError
from ops.target import LocalSystem
from orders.workflow import POOLS

STOP_SECONDS = 60.0
EVERYTHING = "PostgreSQL, RabbitMQ, the sandboxes, the API, the relay, the workers, the collector and Prometheus"
WATCHER = "prometheus"
OWN_KEPT = 20  # URLs of earlier starts


class LocalStack:
    """One instance of the system. Attributes are valid once it was started (or `read` from its folder)."""

    def __init__(self, folder: Path, addresses: Addresses | None = None) -> None:
        self.instance = Instance(folder)
        self.supervisor = Supervisor(self.instance)
        self._addresses = addresses
        self._variant = USUAL
        self._tells = False
        self.unwatched = ""  # why the last start went without Prometheus

    @classmethod
    def read(cls, folder: Path) -> "LocalStack":
        """The instance as its last start recorded it."""
        stack = cls(folder)
        record = stack._record
        if record.exists():
            stack._addresses = Addresses(**json.loads(record.read_text()))
        return stack

    @classmethod
    @contextmanager
    def fresh(
        cls,
        folder: Path,
        extra_env: Mapping[str, str] | None = None,
        sandbox_options: Sequence[str] = (),
        variant: Variant = USUAL,
    ) -> Iterator["LocalStack"]:
        """A system without history, stopped at the end, also on Ctrl-C and SIGTERM.

        `extra_env` goes to every process; `sandbox_options` to the SAP sandbox (`--error-rate 0.05`). A given
        DATABASE_URL lends its server, on which a database of this run's own is made and dropped. Raises OpsError.
        """
        stack = cls(folder)
        stack._variant = variant
        with ending_on_sigterm(), stack.instance.locked():
            stack._sweep()
            stack.instance.erase()
            own = variant.own_servers
            with demo_database(None if own else given_database_url()) as database_url:
                if amqp_url := None if own else given_amqp_url():
                    refuse_loaded_broker(amqp_url)
                try:
                    ports = {name: free_port() for name in PREFERRED_PORTS}
                    stack._start(database_url, amqp_url, ports, extra_env or {}, sandbox_options)
                    yield stack
                finally:
                    with signals_held_back():
                        stack._stop(erase_containers=True)

    def up(self) -> bool:
        """Start it in the background unless it runs and answers; False when it did already. Raises OpsError."""
        with ending_on_sigterm(), self.instance.locked():
            if self.healthy():
                return False
            self._sweep()
            self._tells = True  # somebody's system, unlike those of a demo or a test: it may wake people
            try:
                self._start(given_database_url(), given_amqp_url(), self._usual_ports(), {}, ())
            except BaseException:
                with signals_held_back():
                    self._stop(erase_containers=False)
                raise
            return True

    def down(self) -> int:
        """Stop every process, keep the data; returns how many processes there were. Raises OpsError."""
        with self.instance.locked(), signals_held_back():
            running = len(self.instance.processes())
            self._stop(erase_containers=False)
            return running

    def healthy(self) -> bool:
        """Whether every program runs and the API is ready; Prometheus may be away."""
        states = [state for state in self.states() if state.name != WATCHER]
        running = bool(states) and all(state.state == "RUNNING" for state in states)
        return running and self._addresses is not None and answers(f"{self.api_url}/readyz")

    def states(self) -> list[ProgramState]:
        """The process table, empty when nothing runs."""
        return self.supervisor.states()

    @property
    def started_once(self) -> bool:
        """Whether a start of this instance was ever recorded."""
        return self._addresses is not None

    @property
    def addresses(self) -> Addresses:
        """Where everything answers; raises StackError before the first start."""
        if self._addresses is None:
            raise StackError(f"{self.instance.folder} has never been started; run `make up`")
        return self._addresses

    @property
    def database_url(self) -> str:
        """PostgreSQL, with the database that this system uses."""
        return self.addresses.database_url

    @property
    def amqp_url(self) -> str:
        """RabbitMQ."""
        return self.addresses.amqp_url

    @property
    def api_url(self) -> str:
        """The API, without a path."""
        return self.addresses.urls["api"]

    @property
    def sap_url(self) -> str:
        """The SAP sandbox, without a path."""
        return self.addresses.urls["sap"]

    @property
    def mail_url(self) -> str:
        """The view of the SMTP inbox."""
        return self.addresses.urls["smtp"]

    @property
    def prometheus_url(self) -> str:
        """Prometheus, without a path."""
        return self.addresses.urls["prometheus"]

    @property
    def inbox_dir(self) -> Path:
        """Where each message lies as `.eml`."""
        return self.instance.folder / "inbox"

    @property
    def documents_dir(self) -> Path:
        """Where invoices lie."""
        return self.instance.folder / "documents"

    @property
    def ledger(self) -> Path:
        """The SAP sandbox's ledger."""
        return self.instance.folder / "sap-ledger.jsonl"

    @property
    def _record(self) -> Path:
        return self.instance.folder / RECORD

    def environment(self) -> dict[str, str]:
        """The settings that every process of this instance is started with, by variable."""
        ports = self.addresses.ports
        return {
            "DATABASE_URL": self._variant.through(self.database_url),
            "AMQP_URL": self._variant.through(self.amqp_url),
            "API_HOST": "127.0.0.1",
            "API_PORT": str(ports["api"]),
            "RELAY_HTTP_PORT": str(ports["relay"]),
            "COLLECTOR_HTTP_PORT": str(ports.get("collector", 0)),  # not in the record of an older start
            "SAP_URL": self.sap_url,
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(ports["smtp"]),
            "DOCUMENTS_DIR": str(self.documents_dir),
            "PYTHONUNBUFFERED": "1",
            "LOG_FORMAT": "json",  # these logs are files
        }

    def _start(
        self,
        database_url: str | None,
        amqp_url: str | None,
        ports: dict[str, int],
        extra_env: Mapping[str, str],
        sandbox_options: Sequence[str],
    ) -> None:
        self.instance.folder.mkdir(parents=True, exist_ok=True)
        self.documents_dir.mkdir(exist_ok=True)
        had = stack_servers(
            self.instance,
            database_url,
            amqp_url,
            ports["rabbitmq-metrics"],
            docker_allowed=not self._variant.own_servers,
        )
        own = [url for url in (had.database_url, had.amqp_url) if url not in (database_url, amqp_url)]
        before = self._addresses.own_servers[-OWN_KEPT:] if self._addresses else []
        self._addresses = Addresses(had.database_url, had.amqp_url, ports, had.rabbitmq_metrics, [*before, *own])
        self._record.touch(mode=0o600)
        self._record.write_text(json.dumps(asdict(self._addresses), indent=2))
        LocalSystem(self.instance.folder, self.environment(), self._addresses.urls).write()
        environment = {**self.environment(), **extra_env}
        table = StackPrograms(self.instance, self._addresses, self._variant)
        sandboxes = table.sandboxes(self.ledger, self.inbox_dir, sandbox_options)
        apps = [*sandboxes, *table.processes(), table.prometheus(tells=self._tells)]
        groups = {"servers": had.programs, "apps": apps} if had.programs else {"apps": apps}
        self.supervisor.launch(groups, environment, ROOT)
        self._start_in_order(had.programs, apps, environment)

    def _usual_ports(self) -> dict[str, int]:
        """The ports of the last start where they are free, so that a person's bookmarks stay good."""
        before = self._addresses.ports if self._addresses else {}
        return {name: free_port(before.get(name), port) for name, port in PREFERRED_PORTS.items()}

    def _start_in_order(self, servers: list[Program], apps: list[Program], environment: Mapping[str, str]) -> None:
        self.supervisor.start(*(f"servers:{program.name}" for program in servers), "apps:sap", "apps:smtp")
        for program in reversed(servers):  # PostgreSQL answers first, and migrates while RabbitMQ boots
            self._await("servers", program)
            if program.name == "postgres":
                run_command(("migrate",), environment)
        if not any(program.name == "postgres" for program in servers):
            run_command(("migrate",), environment)
        self.supervisor.start("apps:api")
        run_command(("topology", "apply"), environment)
        workers = (f"apps:worker-{pool}" for pool in POOLS)
        self.supervisor.start("apps:relay", *workers, "apps:collector", "apps:prometheus")
        for program in apps:
            try:
                self._await("apps", program)
            except ServerError as error:
                if program.name != WATCHER:
                    raise
                self.unwatched = f"without Prometheus, and so without alerts: {error}"

    def _await(self, group: str, program: Program) -> None:
        """Return when it answers; a program that dies and is started again has failed, whatever comes of it."""
        name = f"{group}:{program.name}"
        first = self.supervisor.pid_alive(name)
        wait_ready(program, lambda: first != 0 and self.supervisor.pid_alive(name) == first)

    def _sweep(self) -> None:
        """Stop what a killed run left, in order if its supervisord still listens."""
        if self.supervisor.answers():
            self.supervisor.stop(STOP_SECONDS)
        self.instance.stop_processes()

    def _stop(self, *, erase_containers: bool) -> None:
        self._sweep()
        self.supervisor.reap()
        if (self.instance.folder / "docker-password").exists() and docker.engine_answers():
            docker.stop(self.instance.folder, erase=erase_containers)
