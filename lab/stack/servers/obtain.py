"""PostgreSQL and RabbitMQ for a stack, a benchmark or the tests: given, in Docker, or private.

The servers of DATABASE_URL and AMQP_URL come first, unless `lab env` has set them to servers of `make up`: `make up`
must start its own servers again, and no trial or test may use them. Next, a Docker engine that answers runs the two
servers of `compose.yaml`. Otherwise both run natively below the instance's folder. The servers that this module starts
it also stops.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lab.stack.addresses import PREFERRED_PORTS, RECORD
from lab.stack.commands import UP
from lab.stack.instance import Instance
from lab.stack.ports import free_port
from lab.stack.program import Child, Program
from lab.stack.servers import docker, postgres, rabbitmq
from ops.errors import ServerError

UP_RECORD = UP / RECORD
METRICS_URL = "RABBITMQ_METRICS_URL"
METRICS_PORT = PREFERRED_PORTS["rabbitmq-metrics"]
METRICS_FORM = f"http://host:{METRICS_PORT}"


@dataclass(frozen=True)
class ServerUrls:
    """The URLs of the two servers."""

    database_url: str
    amqp_url: str


@dataclass(frozen=True)
class StackServers:
    """The two servers of a stack: their URLs, and the programs to start if the servers are the stack's own.

    `rabbitmq_metrics` (`host:port`) is the address of the broker's Prometheus plugin; empty if it is unknown.
    """

    database_url: str
    amqp_url: str
    rabbitmq_metrics: str
    programs: list[Program]


def given_database_url() -> str | None:
    """DATABASE_URL of the environment; None if unset or empty. Raises ServerError for an unusable URL."""
    return _given("DATABASE_URL", ("postgresql", "postgres"))


def given_amqp_url() -> str | None:
    """AMQP_URL of the environment; None if unset or empty. Raises ServerError for an unusable URL."""
    return _given("AMQP_URL", ("amqp", "amqps"))


def given_rabbitmq_metrics() -> str:
    """`host:port` of RABBITMQ_METRICS_URL, empty if unset. Raises ServerError for an unusable URL.

    A target of Prometheus has no other parts: a path would be ignored, and a password would appear in a file and on the
    page of targets.
    """
    url = _given(METRICS_URL, ("http",), METRICS_FORM)
    if url is None:
        return ""
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ServerError(
            f"{METRICS_URL} must have the form {METRICS_FORM}, without user, password and path: "
            "Prometheus requests /metrics"
        )
    return parts.netloc if parts.port else f"{parts.netloc.rstrip(':')}:{METRICS_PORT}"


def _given(name: str, schemes: tuple[str, ...], form: str = "") -> str | None:
    """A variable's URL. An error about it hides the password."""
    url = os.environ.get(name) or None
    if url is None or url in _own_of_up():
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in schemes and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        shown = re.sub(r"//[^/@]*@", "//***@", url)
        form = form or f"{schemes[0]}://user:password@host:port/name"
        raise ServerError(f"{name}: {shown!r} is not an address of the form {form}")
    return url


def _own_of_up() -> list[str]:
    """The URLs of the servers that `make up` started itself."""
    try:
        return list(json.loads(UP_RECORD.read_text()).get("own_servers", ()))
    except (OSError, ValueError):
        return []


@contextmanager
def servers(folder: Path) -> Iterator[ServerUrls]:
    """Both servers, ready; stopped at the end of the block if they were started here.

    The folder is locked and its leftovers are stopped first. Raises ServerError if a server does not start, and
    InstanceBusyError if the folder is in use.
    """
    database_url, amqp_url = given_database_url(), given_amqp_url()
    if database_url and amqp_url:
        yield ServerUrls(database_url, amqp_url)
        return
    instance = Instance(folder)
    with instance.locked(), ExitStack() as stack:
        instance.stop_processes()
        if docker.engine_answers():
            urls = stack.enter_context(docker.servers(instance.folder))
        else:
            urls = stack.enter_context(native_servers(instance, database=not database_url, broker=not amqp_url))
        yield ServerUrls(database_url or urls[0], amqp_url or urls[1])


@contextmanager
def native_servers(instance: Instance, *, database: bool = True, broker: bool = True) -> Iterator[tuple[str, str]]:
    """(database URL, AMQP URL) of private servers as children of this process; empty for an unwanted one."""
    children: list[Child] = []
    try:
        urls = ["", ""]
        if broker:  # the slower one first
            urls[1], program = native_rabbitmq(instance)
            children.append(Child(program, instance.mark))
        if database:
            urls[0], program = native_postgres(instance)
            children.append(Child(program, instance.mark))
        for child in children:
            child.wait_ready()
        yield urls[0], urls[1]
    finally:
        for child in children:
            child.ask_to_stop()
        for child in children:
            child.stop()
        instance.stop_processes()  # epmd, which Erlang started in the background


def stack_servers(
    instance: Instance, database_url: str | None, amqp_url: str | None, metrics_port: int, *, docker_allowed: bool
) -> StackServers:
    """The two servers of a stack, given ones first; those of a Docker engine answer already. Raises ServerError.

    The metrics address of a given broker is unknown unless RABBITMQ_METRICS_URL names it.
    """
    metrics = given_rabbitmq_metrics() if amqp_url else f"127.0.0.1:{metrics_port}"
    programs = []
    if docker_allowed and not (database_url and amqp_url) and docker.engine_answers():
        urls = docker.start(instance.folder, metrics_port)
        database_url, amqp_url = database_url or urls[0], amqp_url or urls[1]
    if amqp_url is None:
        amqp_url, program = native_rabbitmq(instance, metrics_port)
        programs.append(program)
    if database_url is None:
        database_url, program = native_postgres(instance)
        programs.append(program)
    return StackServers(database_url, amqp_url, metrics, programs)


def native_postgres(instance: Instance) -> tuple[str, Program]:
    """The URL and the program of the instance's own PostgreSQL."""
    server = postgres.prepare(instance.folder / "postgres", instance.logs / "postgres.log", free_port())
    return server.url, server.program


def native_rabbitmq(instance: Instance, metrics_port: int | None = None) -> tuple[str, Program]:
    """The URL and the program of the instance's own RabbitMQ; with `metrics_port` it serves metrics."""
    log = instance.logs / "rabbitmq.log"
    server = rabbitmq.prepare(instance.folder / "rabbitmq", log, free_port(), metrics_port)
    return server.url, server.program
