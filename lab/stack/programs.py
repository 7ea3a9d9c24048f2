"""The programs of a local stack without its servers: the command of each, and the check that it answers."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.stack.addresses import Addresses
from lab.stack.commands import answers, lab, waybill
from lab.stack.instance import Instance
from lab.stack.options import StackOptions
from lab.stack.program import Program
from lab.stack.servers import prometheus
from ops.doctor.broker_client import all_consumed
from orders.workflow import POOLS, steps_of

READY_SECONDS = 60.0
NO_VARIABLES: Mapping[str, str] = {}


class StackPrograms:
    """The programs of an instance with these addresses."""

    def __init__(self, instance: Instance, addresses: Addresses, options: StackOptions) -> None:
        self._instance = instance
        self._addresses = addresses
        self._options = options

    def sandboxes(self, ledger: Path, inbox: Path, sap_options: Sequence[str]) -> list[Program]:
        """The SAP sandbox, with its `ledger`, and the mail sandbox, which stores each message in `inbox`."""
        ports, urls = self._addresses.ports, self._addresses.urls
        sap = lab("sandbox", "sap", "--port", str(ports["sap"]), "--ledger", str(ledger), *sap_options)
        mail = ("--port", str(ports["smtp"]), "--http-port", str(ports["mail"]), "--inbox", str(inbox))
        return [
            self._program("sap", sap, ready=lambda: answers(f"{urls['sap']}/healthz")),
            self._program("smtp", lab("sandbox", "smtp", *mail), ready=lambda: answers(f"{urls['smtp']}/healthz")),
        ]

    def processes(self) -> list[Program]:
        """The API, the relay, one worker for each pool and the collector."""
        urls = self._addresses.urls
        api = self._program("api", waybill("api"), ready=lambda: answers(f"{urls['api']}/readyz"))
        relay = self._program("relay", waybill("relay"), ready=lambda: answers(f"{urls['relay']}/readyz"))
        page = f"{urls['collector']}/metrics"
        collector = self._program("collector", waybill("collector"), ready=lambda: answers(page))
        return [api, relay, *(self._worker(pool) for pool in POOLS), collector]

    def prometheus(self, *, alerting: bool) -> Program:
        """Prometheus; with `alerting` it alerts the shipped Alertmanagers. Raises StackError if it is not installed."""
        return prometheus.prepare(
            self._instance.folder / "prometheus",
            self._instance.logs / "prometheus.log",
            self._addresses.ports["prometheus"],
            self._addresses.targets,
            self._options.adapt_rules,
            alerting=alerting,
        )

    def _worker(self, pool: str) -> Program:
        """The worker of a pool. It answers when each of its queues has a consumer."""
        queues = [step.queue for step in steps_of(pool)]
        return self._program(
            f"worker-{pool}",
            waybill("worker", pool),
            environment={"WORKER_HTTP_PORT": str(self._addresses.ports[f"worker-{pool}"])},
            ready=lambda: all_consumed(self._addresses.amqp_url, queues),
            stop_seconds=30,  # on SIGTERM a worker finishes its tasks
        )

    def _program(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] = NO_VARIABLES,
        ready: Callable[[], bool] = lambda: True,
        stop_seconds: float = 15,
    ) -> Program:
        return Program(
            name=name,
            command=self._options.commands.get(name) or tuple(command),
            log=self._instance.logs / f"{name}.log",
            environment=environment,
            ready=ready,
            ready_seconds=READY_SECONDS,
            stop_seconds=stop_seconds,
        )
