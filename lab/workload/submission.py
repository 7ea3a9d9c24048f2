"""Submits orders to the API, a few at a time, and times each.

An order whose POST got no answer, or a 5xx, is sent again under the same reference; a 409 then means that the first
POST arrived, and its Location names the order.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from ops.errors import OpsError
from orders.model import NewOrder
from runtime.task_groups import first_error

# Enough that the API never waits for this client, few enough that an order is not queued behind others in the API's
# one process while the workers hold both cores: what a POST takes is then what the API takes, not the queue.
CONNECTIONS = 4
TIMEOUT_SECONDS = 15.0
ATTEMPTS = 6
PAUSE_SECONDS = 0.5


class SubmissionError(OpsError):
    """The API did not accept an order; the message says which and what it answered."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted order: its address below the API, and the milliseconds from first send to acceptance."""

    reference: str
    location: str
    accept_ms: float


async def submit(
    api_url: str, orders: Sequence[NewOrder], on_accepted: Callable[[int], None], per_second: float | None = None
) -> list[Accepted]:
    """POST every order, in their order; `on_accepted` is called with how many are accepted. Raises SubmissionError.

    With `per_second` each order is sent at its time, whatever became of those before it; without, as soon as a
    connection is free.
    """
    accepted: list[Accepted] = []
    waiting = _at_pace(orders, per_second)
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    async with httpx.AsyncClient(base_url=api_url, limits=limits, timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        with first_error(SubmissionError):
            async with asyncio.TaskGroup() as group:
                for _ in range(CONNECTIONS):
                    group.create_task(_send_next(client, waiting, accepted, on_accepted))
    return accepted


async def _send_next(
    client: httpx.AsyncClient,
    waiting: Iterator[tuple[NewOrder, float]],
    accepted: list[Accepted],
    on_accepted: Callable[[int], None],
) -> None:
    for order, due_at in waiting:
        await asyncio.sleep(due_at - time.monotonic())
        accepted.append(await _send(client, order))
        on_accepted(len(accepted))


def _at_pace(orders: Sequence[NewOrder], per_second: float | None) -> Iterator[tuple[NewOrder, float]]:
    """Each order with the moment of the monotonic clock at which it is due."""
    started = time.monotonic()
    for number, order in enumerate(orders):
        yield order, started if per_second is None else started + number / per_second


async def _send(client: httpx.AsyncClient, order: NewOrder) -> Accepted:
    body = order_json(order)
    started = time.perf_counter()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            response = await client.post("/orders", json=body)
        except httpx.TransportError as error:
            problem = f"no answer ({type(error).__name__}: {error})"
        else:
            if response.status_code in {202, 409}:
                elapsed = (time.perf_counter() - started) * 1000
                return Accepted(order.reference, await _location(client, order, response), elapsed)
            problem = f"{response.status_code} {response.text[:500]}"
            if response.status_code < 500:
                break
        if attempt < ATTEMPTS:
            await asyncio.sleep(PAUSE_SECONDS)
    raise SubmissionError(f"order {order.reference} was not accepted after {attempt} attempts; the last: {problem}")


async def _location(client: httpx.AsyncClient, order: NewOrder, response: httpx.Response) -> str:
    """The order's address; after a 409 the address is read, to be sure that it is the same order."""
    location: str = response.headers.get("location", "")
    if not location:
        raise SubmissionError(f"order {order.reference}: the API's {response.status_code} has no Location")
    if response.status_code == 409:
        found = await client.get(location)
        if found.status_code != 200 or found.json().get("reference") != order.reference:
            raise SubmissionError(
                f"order {order.reference}: {location} is another order: {found.status_code} {found.text}"
            )
    return location


def order_json(order: NewOrder) -> dict[str, Any]:
    """The order as POST /orders takes it; money as text."""
    address = order.customer.address
    place = {"street": address.street, "city": address.city, "country": address.country}
    optional = {"postal_code": address.postal_code, "region": address.region}
    place.update({name: value for name, value in optional.items() if value is not None})
    return {
        "reference": order.reference,
        "customer": {"name": order.customer.name, "email": order.customer.email, "address": place},
        "currency": order.currency,
        "lines": [
            {
                "sku": line.sku,
                "quantity": line.quantity,
                "unit_price": str(line.unit_price),
                "discount": str(line.discount),
            }
            for line in order.lines
        ],
    }
