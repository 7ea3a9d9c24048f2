"""SAP's adapter and the sandbox keep the ERP's contract."""

import socket
from typing import Any

import pytest

from consumers.adapters.erp import Erp
from consumers.adapters.erp_factory import make_erp
from runtime.settings import Settings
from tests.contract.erp_contract import ErpContract, ErpSystem
from tests.support.processes.sandboxes import Sap


class SapSystem:
    """The SAP sandbox as the suite's ERP. See `ErpSystem`."""

    def __init__(self, sap: Sap) -> None:
        self._sap = sap

    def client(self) -> Erp:
        return _erp(self._sap.url)

    def unreachable_client(self) -> Erp:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        return _erp(f"http://127.0.0.1:{port}")

    def unauthorised_client(self) -> Erp:
        return _erp(self._sap.url, sap_password="guess")

    def documents(self, order_number: str) -> list[str]:
        return list(self._sap.order(order_number)["documents"])

    def fail_before_commit(self) -> None:
        self._sap.faults(error_rate=1)

    def lose_answers(self) -> None:
        self._sap.faults(lost_rate=1)

    def go_down(self, retry_after_seconds: int) -> None:
        self._sap.faults(outage=True, retry_after_seconds=retry_after_seconds)


class TestSap(ErpContract):
    @pytest.fixture
    def system(self, sap: Sap) -> ErpSystem:
        return SapSystem(sap)


def _erp(url: str, **changes: Any) -> Erp:
    values: dict[str, Any] = {
        "database_url": "postgresql://nobody@127.0.0.1/none",
        "amqp_url": "amqp://nobody@127.0.0.1/",
        "sap_url": url,
        "sap_timeout_seconds": 5.0,
    }
    return make_erp(Settings(**(values | changes)))
