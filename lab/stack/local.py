"""The local stack: servers, sandboxes, API, relay, workers, collector and Prometheus in one instance folder.

A start runs PostgreSQL, RabbitMQ and the sandboxes first; the migrations while RabbitMQ boots; then the topology; then
all other programs. Prometheus comes last and is optional: a start without it succeeds. `up` starts the system in the
background and `down` stops it. `fresh` lends a caller a system without history. If DATABASE_URL and AMQP_URL are given
or a Docker engine answers, those servers are used, and the process table holds the other programs. Called by
`lab.stack.terminal` and by the trials.
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
from lab.stack.options import DEFAULT_OPTIONS, StackOptions
from lab.stack.ports import free_port
from lab.stack.program import Program, wait_ready
from lab.stack.programs import StackPrograms
from lab.stack.servers import docker
from lab.stack.servers.borrowed import demo_database, refuse_loaded_broker
from lab.stack.servers.obtain import given_amqp_url, given_database_url, stack_servers
from lab.stack.signals import ending_on_sigterm, signals_ignored
from lab.stack.supervisor import ProgramState, Supervisor
from ops.errors import ServerError
from ops.target import LocalSystem
from orders.workflow import POOLS

STOP_SECONDS = 60.0
EVERYTHING = "PostgreSQL, RabbitMQ, the sandboxes, the API, the relay, the workers, the collector and Prometheus"
OPTIONAL = "prometheus"
OWN_KEPT = 20  # URLs of earlier starts


class LocalStack:
    """One instance of the system. Its addresses are valid after a start, or after `read` from its folder."""

    def __init__(self, folder: Path, addresses: Addresses | None = None) -> None:
        self.instance = Instance(folder)
        self.supervisor = Supervisor(self.instance)
        self._addresses = addresses
        self._options = DEFAULT_OPTIONS
        self._alerting = False
        self.prometheus_error = ""  # why Prometheus did not start

    @classmethod
    def read(cls, folder: Path) -> "LocalStack":
        """The instance as the last start recorded it."""
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
        options: StackOptions = DEFAULT_OPTIONS,
    ) -> Iterator["LocalStack"]:
        """A system without history, stopped at the end of the block, also on Ctrl-C and SIGTERM.

        Every process gets `extra_env`, the SAP sandbox `sandbox_options` (`--error-rate 0.05`). On the server of a
        given DATABASE_URL this run makes a database of its own, and drops it. Raises OpsError.
        """
        stack = cls(folder)
        stack._options = options
        with ending_on_sigterm(), stack.instance.locked():
            stack._sweep()
            stack.instance.erase()
            own = options.own_servers
            with demo_database(None if own else given_database_url()) as database_url:
                if amqp_url := None if own else given_amqp_url():
                    refuse_loaded_broker(amqp_url)
                try:
                    ports = {name: free_port() for name in PREFERRED_PORTS}
                    stack._start(database_url, amqp_url, ports, extra_env or {}, sandbox_options)
                    yield stack
                finally:
                    with signals_ignored():
                        stack._stop(erase_containers=True)

    def up(self) -> bool:
        """Start the system in the background; False if it runs and answers already. Raises OpsError."""
        with ending_on_sigterm(), self.instance.locked():
            if self.healthy():
                return False
            self._sweep()
            self._alerting = True  # only this system is meant to run on: those of trials and tests send no alerts
            try:
                self._start(given_database_url(), given_amqp_url(), self._usual_ports(), {}, ())
            except BaseException:
                with signals_ignored():
                    self._stop(erase_containers=False)
                raise
            return True

    def down(self) -> int:
        """Stop every process and keep the data; returns how many processes there were. Raises OpsError."""
        with self.instance.locked(), signals_ignored():
            running = len(self.instance.processes())
            self._stop(erase_containers=False)
            return running

    def healthy(self) -> bool:
        """Whether every program but Prometheus runs and the API is ready."""
        states = [state for state in self.states() if state.name != OPTIONAL]
        running = bool(states) and all(state.state == "RUNNING" for state in states)
        return running and self._addresses is not None and answers(f"{self.api_url}/readyz")

    def states(self) -> list[ProgramState]:
        """The state of each program; empty if supervisord does not run."""
        return self.supervisor.states()

    @property
    def started_once(self) -> bool:
        """Whether a start of this instance was ever recorded."""
        return self._addresses is not None

    @property
    def addresses(self) -> Addresses:
        """The addresses of all programs. Raises StackError before the first start."""
        if self._addresses is None:
            raise StackError(f"{self.instance.folder} has never been started; run `make up`")
        return self._addresses

    @property
    def database_url(self) -> str:
        """The URL of this system's database."""
        return self.addresses.database_url

    @property
    def amqp_url(self) -> str:
        """The URL of RabbitMQ."""
        return self.addresses.amqp_url

    @property
    def api_url(self) -> str:
        """The URL of the API, without a path."""
        return self.addresses.urls["api"]

    @property
    def sap_url(self) -> str:
        """The URL of the SAP sandbox, without a path."""
        return self.addresses.urls["sap"]

    @property
    def mail_url(self) -> str:
        """The URL of the mail sandbox's view."""
        return self.addresses.urls["smtp"]

    @property
    def prometheus_url(self) -> str:
        """The URL of Prometheus, without a path."""
        return self.addresses.urls["prometheus"]

    @property
    def inbox_dir(self) -> Path:
        """The folder with each message as `.eml`."""
        return self.instance.folder / "inbox"

    @property
    def documents_dir(self) -> Path:
        """The folder of the invoices."""
        return self.instance.folder / "documents"

    @property
    def ledger(self) -> Path:
        """The file of the SAP sandbox's ledger."""
        return self.instance.folder / "sap-ledger.jsonl"

    @property
    def _record(self) -> Path:
        return self.instance.folder / RECORD

    def environment(self) -> dict[str, str]:
        """The settings of every process of this instance, by variable."""
        ports = self.addresses.ports
        return {
            "DATABASE_URL": self._options.through(self.database_url),
            "AMQP_URL": self._options.through(self.amqp_url),
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
        servers = stack_servers(
            self.instance,
            database_url,
            amqp_url,
            ports["rabbitmq-metrics"],
            docker_allowed=not self._options.own_servers,
        )
        own = [url for url in (servers.database_url, servers.amqp_url) if url not in (database_url, amqp_url)]
        before = self._addresses.own_servers[-OWN_KEPT:] if self._addresses else []
        self._addresses = Addresses(
            servers.database_url, servers.amqp_url, ports, servers.rabbitmq_metrics, [*before, *own]
        )
        self._record.touch(mode=0o600)
        self._record.write_text(json.dumps(asdict(self._addresses), indent=2))
        LocalSystem(self.instance.folder, self.environment(), self._addresses.urls).write()
        environment = {**self.environment(), **extra_env}
        table = StackPrograms(self.instance, self._addresses, self._options)
        sandboxes = table.sandboxes(self.ledger, self.inbox_dir, sandbox_options)
        apps = [*sandboxes, *table.processes(), table.prometheus(alerting=self._alerting)]
        groups = {"servers": servers.programs, "apps": apps} if servers.programs else {"apps": apps}
        self.supervisor.launch(groups, environment, ROOT)
        self._start_in_order(servers.programs, apps, environment)

    def _usual_ports(self) -> dict[str, int]:
        """The ports of the last start if they are free, so that bookmarks stay valid."""
        before = self._addresses.ports if self._addresses else {}
        return {name: free_port(before.get(name), port) for name, port in PREFERRED_PORTS.items()}

    def _start_in_order(self, servers: list[Program], apps: list[Program], environment: Mapping[str, str]) -> None:
        self.supervisor.start(*(f"servers:{program.name}" for program in servers), "apps:sap", "apps:smtp")
        for program in reversed(servers):  # PostgreSQL answers first; the migrations run while RabbitMQ boots
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
                if program.name != OPTIONAL:
                    raise
                self.prometheus_error = f"without Prometheus, and so without alerts: {error}"

    def _await(self, group: str, program: Program) -> None:
        """Return when a program answers. A program that died and was restarted meanwhile counts as failed."""
        name = f"{group}:{program.name}"
        first = self.supervisor.pid_alive(name)
        wait_ready(program, lambda: first != 0 and self.supervisor.pid_alive(name) == first)

    def _sweep(self) -> None:
        """Stop the leftovers of a killed run, in order if its supervisord still answers."""
        if self.supervisor.answers():
            self.supervisor.stop(STOP_SECONDS)
        self.instance.stop_processes()

    def _stop(self, *, erase_containers: bool) -> None:
        self._sweep()
        self.supervisor.reap()
        if (self.instance.folder / "docker-password").exists() and docker.engine_answers():
            docker.stop(self.instance.folder, erase=erase_containers)
