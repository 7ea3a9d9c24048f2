"""The record of a start is read again, also by a later version."""

import json
from pathlib import Path

from lab.stack.addresses import PREFERRED_PORTS, Addresses, preferred_ports
from lab.stack.local import LocalStack
from orders.workflow import POOLS

OLD = {"api": 8080, "relay": 8081, "sap": 8090, "mail": 8025, "smtp": 2525}


def recorded(folder: Path, ports: dict[str, int]) -> LocalStack:
    record = {"database_url": "postgresql://a@127.0.0.1/w", "amqp_url": "amqp://a@127.0.0.1/", "ports": ports}
    (folder / "stack.json").write_text(json.dumps(record))
    return LocalStack.read(folder)


def test_each_worker_has_a_page_of_its_own() -> None:
    urls = Addresses("", "", PREFERRED_PORTS).urls

    assert [urls[f"worker-{pool}"] for pool in POOLS] == [f"http://127.0.0.1:{port}" for port in range(8083, 8087)]


def test_no_two_programs_have_one_port_however_many_pools_there_are() -> None:
    ports = preferred_ports(f"pool-{number}" for number in range(100))

    assert len(set(ports.values())) == len(ports)
    assert [ports[f"worker-pool-{number}"] for number in (0, 6, 7, 8)] == [8083, 8089, 8091, 8092]


def test_every_program_with_metrics_is_a_target() -> None:
    addresses = Addresses("", "", PREFERRED_PORTS, "127.0.0.1:15692")

    assert {job: len(targets) for job, targets in addresses.targets.items()} == {
        "api": 1, "relay": 1, "collector": 1, "prometheus": 1, "worker": len(POOLS), "rabbitmq": 1,
    }  # fmt: skip
    assert addresses.targets["worker"][0] == "127.0.0.1:8083"


def test_a_broker_with_an_unknown_metrics_address_is_not_a_target() -> None:
    assert Addresses("", "", PREFERRED_PORTS).targets["rabbitmq"] == []


def test_a_record_without_workers_is_read(tmp_path: Path) -> None:
    stack = recorded(tmp_path, OLD)

    assert stack.started_once
    assert stack.addresses.urls == {
        "api": "http://127.0.0.1:8080",
        "relay": "http://127.0.0.1:8081",
        "sap": "http://127.0.0.1:8090",
        "smtp": "http://127.0.0.1:8025",
    }
    assert stack.environment()["API_PORT"] == "8080"
    assert not stack.healthy()
