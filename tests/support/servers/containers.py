"""PostgreSQL and RabbitMQ in containers of their own, by testcontainers: the images that compose.yaml pins."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import yaml
from testcontainers.community.postgres import PostgresContainer
from testcontainers.community.rabbitmq import RabbitMqContainer

from lab.stack.ports import free_port
from lab.stack.servers.obtain import ServerUrls
from lab.stack.servers.rabbitmq import SHARED_CONFIG
from tests.support.paths import ROOT

COMPOSE_FILE = ROOT / "compose.yaml"
USER = "waybill"


@contextmanager
def servers() -> Iterator[ServerUrls]:
    """Both servers, published on loopback; gone at the end, or with the session by testcontainers' own reaper."""
    services = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
    postgres = PostgresContainer(services["postgres"]["image"], username=USER, password=USER, dbname=USER, driver=None)
    rabbitmq = RabbitMqContainer(services["rabbitmq"]["image"], username=USER, password=USER)
    rabbitmq.with_volume_mapping(str(SHARED_CONFIG), "/etc/rabbitmq/conf.d/20-waybill.conf", "ro")
    ports = {}
    for container, port in ((postgres, 5432), (rabbitmq, 5672)):
        ports[port] = free_port()
        # docker-py takes (address, port); without the address it would publish on every interface.
        published = cast("dict[str, object]", container.ports)
        published[str(port)] = ("127.0.0.1", ports[port])
    with postgres, rabbitmq:
        yield ServerUrls(
            f"postgresql://{USER}:{USER}@127.0.0.1:{ports[5432]}/{USER}",
            f"amqp://{USER}:{USER}@127.0.0.1:{ports[5672]}/",
        )
