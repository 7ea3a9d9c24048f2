"""A private RabbitMQ node from the system's package: prepared below a folder, run as a `Program`.

It never touches the system's service: node name, cookie, home, database, logs, plugins, AMQP port, metrics port,
distribution port and epmd are the folder's own, and all listen on 127.0.0.1 only. The scripts below /usr/lib are run
directly, because those in PATH change to the user rabbitmq. Erlang starts epmd in the background and does not stop it,
so the caller that stops the node must stop the instance's epmd as well (`Instance.stop_processes`).
"""

import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from lab.stack.ports import free_port
from lab.stack.program import Program
from ops.errors import ServerError

SCRIPTS = ("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin", "/opt/rabbitmq/sbin", "/opt/homebrew/opt/rabbitmq/sbin")
SHARED = Path(__file__).parents[3] / "deploy" / "rabbitmq"
SHARED_CONFIG = SHARED / "rabbitmq.conf"
SHARED_PLUGINS = SHARED / "enabled_plugins"
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
METHOD_FRAME = b"\x01"


@dataclass(frozen=True)
class RabbitMQ:
    """A prepared node: start `program`, then reach it at `url`."""

    url: str
    program: Program


def scripts() -> Path | None:
    """The folder with the scripts of the newest installed RabbitMQ; None without one."""
    found = [
        folder for pattern in SCRIPTS for folder in Path("/").glob(pattern[1:]) if (folder / "rabbitmq-server").exists()
    ]
    return max(found, key=lambda folder: [int(part) for part in re.findall(r"\d+", str(folder))], default=None)


def prepare(folder: Path, log: Path, port: int, metrics_port: int | None = None) -> RabbitMQ:
    """Write the node's configuration below `folder` and describe the node on AMQP port `port`.

    With `metrics_port` its Prometheus plugin serves `/metrics` there, with metrics for each queue; without it the
    plugin is off. Raises ServerError if RabbitMQ is not installed.
    """
    sbin = scripts()
    if sbin is None:
        raise ServerError(
            "RabbitMQ is not installed; run `sudo lab/stack/bootstrap.sh --servers`, which installs the package and "
            "starts no service, or set AMQP_URL to a server of yours"
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "home").mkdir(exist_ok=True)
    password = _kept(folder / "password", secrets.token_hex(16))
    node = _kept(folder / "nodename", f"waybill-{secrets.token_hex(4)}@localhost")
    (folder / "enabled_plugins").write_text(SHARED_PLUGINS.read_text() if metrics_port else "[].\n")
    _write_config(folder / "rabbitmq.conf", port, metrics_port, password)
    return RabbitMQ(
        url=f"amqp://waybill:{password}@127.0.0.1:{port}/",
        program=Program(
            name="rabbitmq",
            command=(str(sbin / "rabbitmq-server"),),
            log=log,
            environment=_environment(folder, node),
            ready=lambda: answers(port),
            ready_seconds=90,
            stop_seconds=20,
        ),
    )


def answers(port: int) -> bool:
    """Whether the broker answers an AMQP 0-9-1 header: a bound port alone proves nothing."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(PROTOCOL_HEADER)
            return connection.recv(1) == METHOD_FRAME
    except OSError:
        return False


def _kept(path: Path, value: str) -> str:
    """The content of `path`, which the first call sets to `value`: the node's database depends on it."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(value)
    return path.read_text()


def _write_config(path: Path, port: int, metrics_port: int | None, password: str) -> None:
    own = (
        f"\nlisteners.tcp.local = 127.0.0.1:{port}\ndefault_user = waybill\ndefault_pass = {password}\n"
        "loopback_users.guest = true\n"
    )
    if metrics_port:
        own += f"prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {metrics_port}\n"
    path.touch(mode=0o600)
    path.write_text(SHARED_CONFIG.read_text() + own)


def _environment(folder: Path, node: str) -> dict[str, str]:
    return {
        "HOME": str(folder / "home"),  # with the Erlang cookie
        "LC_ALL": "C.UTF-8",
        "ERL_EPMD_PORT": str(free_port()),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": node,
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "config"),
        "RABBITMQ_PLUGINS_EXPAND_DIR": str(folder / "plugins"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        # With it the script execs Erlang instead of waiting for it, so the program's pid is the broker's.
        "RUNNING_UNDER_SYSTEMD": "true",
        "RABBITMQ_SERVER_START_ARGS": "+B i",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
    }
