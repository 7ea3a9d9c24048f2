"""One whole system for all tests of this folder: every process and server of the real thing, with a catalogue.

`tests.support.scheduling` gives the whole folder to one worker, so that the system is started once.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from lab.stack.local import LocalStack
from lab.workload.seed import fill_empty_shelves
from tests.support.deadlines import ANSWER_SECONDS
from tests.support.paths import ROOT
from tests.support.processes.running_system import SECRETS
from tests.support.servers import databases as servers

SESSIONS = ROOT / ".local" / "test-e2e"
QUICK_RETRIES = {
    "RETRY_BASE_SECONDS": "0.3",
    "SAP_RETRY_BASE_SECONDS": "0.3",
    "SAP_COMMIT_SECONDS": "2",
    "DELIVERY_LEASE_SECONDS": "3",
}


@pytest.fixture(scope="package")
def stack() -> Iterator[LocalStack]:
    """A running system whose retries and leases are short."""
    given = {name: os.environ.pop(name) for name in ("DATABASE_URL", "AMQP_URL") if name in os.environ}
    try:
        with (
            servers.session_folder(SESSIONS) as folder,
            LocalStack.fresh(folder, QUICK_RETRIES | SECRETS, ("--password", SECRETS["SAP_PASSWORD"])) as running,
        ):
            asyncio.run(fill_empty_shelves(running.database_url))
            yield running
        assert running.instance.processes() == [], "the system left processes behind"
    finally:
        os.environ.update(given)


@pytest.fixture
def finished(stack: LocalStack) -> Callable[[str], dict[str, object]]:
    """Wait for an order's end: completed, or rejected with an e-mail to the customer."""

    def wait(location: str, seconds: float = 60) -> dict[str, object]:
        deadline = time.monotonic() + seconds
        order: dict[str, object] = {}
        while time.monotonic() < deadline:
            order = httpx.get(stack.api_url + location, timeout=ANSWER_SECONDS).json()
            steps = order["steps"]
            assert isinstance(steps, list)
            if order["status"] in {"completed", "rejected"} and all(step["state"] == "done" for step in steps):
                return order
            time.sleep(0.1)  # the poll's pace; what is waited for is the order's state
        raise AssertionError(f"{location} did not finish within {seconds} s: {order}")

    return wait
