"""The load of an observation: the faults that come with its orders, and POSTs that the API must refuse.

SAP fails a tenth of the calls and loses some answers; one customer's mailbox does not exist, so e-mails to it are
dead-lettered; and the generator makes a part of the orders to be rejected.
"""

import json
from collections import Counter
from collections.abc import Sequence

import httpx

from lab.trial import sap_options
from lab.workload.expectations import Workload
from lab.workload.submission import order_json
from ops.errors import OpsError
from orders.model import NewOrder

SAP_OPTIONS = sap_options(seed=5, error_rate=0.1, lost_rate=0.02)
NO_SUCH_MAILBOX = 550
HTTP_SECONDS = 10.0


class UnexpectedAnswerError(OpsError):
    """The API accepted a POST that it had to refuse; the message holds its body."""


def unreachable_customer(workload: Workload) -> str:
    """The address without a mailbox: that of the first order that must complete."""
    return workload.completing[0].customer.email


async def remove_mailbox(mail_url: str, address: str) -> None:
    """Have the mail server refuse an address for good."""
    rules = [{"pattern": address, "code": NO_SUCH_MAILBOX}]
    async with httpx.AsyncClient(timeout=HTTP_SECONDS, trust_env=False) as http:
        (await http.put(f"{mail_url}/refusals", json=rules)).raise_for_status()


async def send_invalid(api_url: str, taken: Sequence[NewOrder]) -> Counter[str]:
    """POST bodies that must be refused; returns how often each reason was given. `taken` were accepted before.

    Raises UnexpectedAnswerError.
    """
    reasons: Counter[str] = Counter()
    async with httpx.AsyncClient(base_url=api_url, timeout=HTTP_SECONDS, trust_env=False) as http:
        for body in invalid_bodies(taken):
            answer = await http.post("/orders", content=body, headers={"Content-Type": "application/json"})
            if not 400 <= answer.status_code < 500:
                raise UnexpectedAnswerError(f"POST /orders answered {answer.status_code} to {body[:200]!r}")
            reasons[str(answer.json()["type"]).rpartition(":")[2]] += 1
    return reasons


def invalid_bodies(taken: Sequence[NewOrder]) -> list[bytes]:
    """Invalid orders: no JSON, a line of quantity 0, no lines, and each accepted reference again. Pure."""
    first = order_json(taken[0])
    empty_line = {**first, "lines": [{**first["lines"][0], "quantity": 0}]}
    bodies = [json.dumps(body).encode() for body in (empty_line, {**first, "lines": []})]
    return [b"{", *bodies, *(json.dumps(order_json(order)).encode() for order in taken)]
