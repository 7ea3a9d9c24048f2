"""A private RabbitMQ whose Prometheus plugin serves each queue's metrics, on loopback."""

from collections.abc import Iterator
from pathlib import Path

import amqp
import psutil
import pytest

from lab.stack.instance import Instance
from lab.stack.ports import free_port
from lab.stack.program import Child
from lab.stack.servers import rabbitmq
from lab.stack.servers.obtain import native_rabbitmq
from ops.doctor import broker_client
from tests.support.deadlines import wait_until
from tests.support.probes.metrics_page import metric


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int, Child]]:
    """(AMQP URL, port of its metrics, process) of a node."""
    if rabbitmq.scripts() is None:
        pytest.skip("RabbitMQ's own programs are not installed (sudo lab/stack/bootstrap.sh --servers)")
    instance, port = Instance(tmp_path_factory.mktemp("watched")), free_port()
    url, program = native_rabbitmq(instance, port)
    child = Child(program, instance.mark)
    try:
        child.wait_ready()
        yield url, port, child
    finally:
        child.stop()
        instance.stop_processes()  # epmd


def test_each_queue_has_metrics_under_its_name(node: tuple[str, int, Child]) -> None:
    url, port, _ = node
    with broker_client.connection(url) as link:
        channel = link.channel()
        for queue, messages in (("sap", 2), ("email", 1)):
            arguments = {"x-queue-type": "quorum"}
            channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)
            for _ in range(messages):
                channel.basic_publish_confirm(amqp.Message("x"), routing_key=queue)

    def waiting(queue: str) -> float:
        return metric(port, "rabbitmq_queue_messages_ready", queue=queue)

    wait_until(lambda: (waiting("sap"), waiting("email")) == (2, 1))  # the broker adds up every five seconds


def test_nothing_of_it_listens_beyond_loopback(node: tuple[str, int, Child]) -> None:
    listening = {
        connection.laddr
        for connection in psutil.Process(node[2].pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }

    assert node[1] in {address.port for address in listening}
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1"}


def test_a_node_without_a_metrics_port_has_no_plugin(tmp_path: Path) -> None:
    if rabbitmq.scripts() is None:
        pytest.skip("RabbitMQ's own programs are not installed (sudo lab/stack/bootstrap.sh --servers)")
    prepared = rabbitmq.prepare(tmp_path, tmp_path / "log", free_port())

    assert (tmp_path / "enabled_plugins").read_text() == "[].\n"
    assert "prometheus.tcp" not in (tmp_path / "rabbitmq.conf").read_text()
    assert prepared.url.startswith("amqp://")
