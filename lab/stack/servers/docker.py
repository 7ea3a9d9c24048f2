"""PostgreSQL and RabbitMQ in a Docker engine: the two servers of `compose.yaml`, on free loopback ports."""

import hashlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.stack.ports import free_port
from ops.errors import ServerError

COMPOSE_FILE = Path(__file__).parents[3] / "compose.yaml"
ANSWER_SECONDS = 5
START_SECONDS = 300  # the first start pulls two images


def engine_answers() -> bool:
    """Whether `docker` and its compose plugin are installed and the engine answers."""
    if shutil.which("docker") is None:
        return False
    try:
        return all(
            subprocess.run(["docker", *words], capture_output=True, check=False, timeout=ANSWER_SECONDS).returncode == 0
            for words in (["version", "--format", "{{.Server.Version}}"], ["compose", "version"])
        )
    except (OSError, subprocess.TimeoutExpired):
        return False


@contextmanager
def servers(folder: Path) -> Iterator[tuple[str, str]]:
    """(database URL, AMQP URL) of two fresh containers, removed with their data at the end of the block."""
    urls = start(folder)
    try:
        yield urls
    finally:
        stop(folder, erase=True)


def start(folder: Path, metrics_port: int | None = None) -> tuple[str, str]:
    """Start the two servers of the instance `folder` and wait until both are healthy.

    RabbitMQ serves its metrics on `metrics_port`, or on a free port. Returns (database URL, AMQP URL). Raises
    ServerError with Docker's error.
    """
    secret = _kept(folder / "docker-password")
    wanted = {"POSTGRES_PORT": None, "RABBITMQ_PORT": None, "RABBITMQ_METRICS_PORT": metrics_port}
    ports = {name: str(port or free_port()) for name, port in wanted.items()}
    passwords = {"POSTGRES_PASSWORD": secret, "RABBITMQ_PASSWORD": secret}
    _compose(folder, ["up", "--detach", "--wait", "postgres", "rabbitmq"], {**ports, **passwords})
    return (
        f"postgresql://waybill:{secret}@127.0.0.1:{ports['POSTGRES_PORT']}/waybill",
        f"amqp://waybill:{secret}@127.0.0.1:{ports['RABBITMQ_PORT']}/",
    )


def stop(folder: Path, *, erase: bool) -> None:
    """Stop the two servers; with `erase`, delete their data as well. Raises ServerError with Docker's error."""
    _compose(folder, ["down", "--remove-orphans", *(["--volumes"] if erase else [])], {})


def _compose(folder: Path, words: list[str], variables: dict[str, str]) -> None:
    project = f"waybill-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    command = ["docker", "compose", "--project-name", project, "--file", str(COMPOSE_FILE), *words]
    try:
        result = subprocess.run(
            command,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=START_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"`{' '.join(command)}` took more than {START_SECONDS} s") from error
    if result.returncode != 0:
        raise ServerError(f"`{' '.join(command)}` failed: {result.stderr.strip()}")


def _kept(path: Path) -> str:
    """The secret of the instance, made at the first call: the server's data depends on it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(16))
    return path.read_text()
