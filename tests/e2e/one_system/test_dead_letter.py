"""An order whose dead letter is replayed continues to its end by itself, and until then needs attention."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx

from lab.stack.commands import run_command
from lab.stack.local import LocalStack
from tests.support.deadlines import ANSWER_SECONDS
from tests.support.processes.running_system import emails_to, order, place

Finished = Callable[[str], dict[str, Any]]


def page_when(stack: LocalStack, location: str, so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """An order's page, once `so` is true of it."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while not so(page := httpx.get(stack.api_url + location, timeout=ANSWER_SECONDS).json()):
        assert time.monotonic() < deadline, page
        time.sleep(0.1)  # the poll's pace; the wait ends with the page
    return dict(page)


def test_an_order_with_a_dead_letter_needs_attention_and_completes_by_itself_when_it_is_replayed(
    stack: LocalStack, finished: Finished
) -> None:
    reference = f"DEAD-{uuid4().hex[:8]}"
    address = f"{reference.lower()}@example.com"
    _refuse(stack, {"pattern": address, "code": 550})
    try:
        location = place(stack, order(reference))
        page = page_when(stack, location, lambda page: bool(page["needs_attention"]))
    finally:
        _refuse(stack)
    (why,) = page["open_dead_letters"]
    assert (why["queue"], why["reason"]) == ("email", "rejected")
    assert "550" in why["error"]
    assert page["status"] == "synced"
    assert [one["needs_attention"] for one in _listed(stack, reference)] == [True]

    words = ("dead-letters", "replay", "--order", page["order_id"], "--by", "anna", "--why", "the mailbox is there")
    run_command(words, stack.environment())

    page = finished(location)
    assert (page["status"], page["needs_attention"], page["open_dead_letters"]) == ("completed", False, [])
    assert len(emails_to(stack, address)) == 1


def _refuse(stack: LocalStack, *refusals: dict[str, Any]) -> None:
    httpx.put(f"{stack.mail_url}/refusals", json=refusals, timeout=ANSWER_SECONDS).raise_for_status()


def _listed(stack: LocalStack, reference: str) -> list[dict[str, Any]]:
    orders = httpx.get(f"{stack.api_url}/orders?limit=50", timeout=ANSWER_SECONDS).json()["orders"]
    return [one for one in orders if one["reference"] == reference]
