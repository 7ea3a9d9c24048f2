"""How long a failed step waits: what it asked for, plus a jittered back-off that depends on its pool."""

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from consumers.delivery.error_kinds import StepError
from consumers.delivery.limits import lease_seconds
from consumers.delivery.retry_decision import RetryDecider
from orders.workflow import BY_NAME
from runtime.settings import Settings

SETTINGS = Settings(
    database_url="postgresql://nobody@127.0.0.1:1/none",
    amqp_url="amqp://127.0.0.1:1/",
    documents_dir=Path("/nowhere"),
    retry_base_seconds=1,
    sap_retry_base_seconds=20,
    delivery_lease_seconds=30,
    sap_commit_seconds=60,
)


def _longest(step: str, attempt: int, error: Exception) -> timedelta:
    decider = RetryDecider(BY_NAME[step], SETTINGS)
    decider._rng = cast("Any", SimpleNamespace(uniform=lambda _low, high: high))
    return decider.delay(attempt, error)


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16)])
def test_the_back_off_of_a_local_step_doubles_from_its_base(attempt: int, seconds: int) -> None:
    assert _longest("validate_order", attempt, ValueError()) == timedelta(seconds=seconds)


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 20), (2, 40), (5, 320)])
def test_sap_is_given_more_time(attempt: int, seconds: int) -> None:
    assert _longest("sync_order_to_sap", attempt, ValueError()) == timedelta(seconds=seconds)


def test_no_back_off_is_longer_than_ten_minutes() -> None:
    assert _longest("sync_order_to_sap", 30, ValueError()) == timedelta(seconds=600)


def test_what_a_step_asked_for_is_waited_in_any_case() -> None:
    decider = RetryDecider(BY_NAME["sync_order_to_sap"], SETTINGS)
    delays = [decider.delay(1, StepError("lost", wait_seconds=60)) for _ in range(200)]
    assert min(delays) >= timedelta(seconds=60)
    assert max(delays) <= timedelta(seconds=80)
    assert len(set(delays)) > 100  # full jitter: a crowd of failures does not come back as a crowd


def test_a_lease_outlasts_the_commit_that_a_dead_worker_may_have_started_in_sap() -> None:
    assert lease_seconds(BY_NAME["sync_order_to_sap"], SETTINGS) == 120
    assert lease_seconds(BY_NAME["generate_invoice_pdf"], SETTINGS) == 30
