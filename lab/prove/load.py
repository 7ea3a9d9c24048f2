"""The load of a proof: submits orders at a pace, and sends each one again until it is accepted.

A POST that got no answer, or a 5xx, is sent again under the same reference until it is accepted, or until a 409 names
the order that an earlier POST placed. The judge holds everything else to the orders that were accepted over HTTP.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence

import httpx

from lab.workload.submission import order_json
from ops.errors import OpsError
from orders.model import NewOrder
from runtime.task_groups import first_error

SENDERS = 8  # enough that a dead connection or a restarting API does not stop the pace for long
ANSWER_SECONDS = 5.0
PAUSE_SECONDS = 0.3
# Longer than any fault: an API that is silent for this long is not coming back.
PATIENCE_SECONDS = 90.0


class NotAcceptedError(OpsError):
    """An order was refused, or the API did not answer for too long; the message names the order and the last answer."""


class Load:
    """Orders on their way to the API. `accepted` maps the reference of each accepted order to its id."""

    def __init__(self, api_url: str, orders: Sequence[NewOrder], seconds: float) -> None:
        """Send `orders` evenly within `seconds`."""
        self._api_url = api_url
        self._orders = orders
        self._interval = seconds / len(orders)
        self.accepted: dict[str, str] = {}
        self.sent_again = 0

    async def run(self) -> None:
        """Return when every order is accepted. Raises NotAcceptedError."""
        waiting = iter(enumerate(self._orders))
        started = time.monotonic()
        limits = httpx.Limits(max_connections=SENDERS, max_keepalive_connections=SENDERS)
        async with httpx.AsyncClient(
            base_url=self._api_url, limits=limits, timeout=ANSWER_SECONDS, trust_env=False
        ) as client:
            with first_error(NotAcceptedError):
                async with asyncio.TaskGroup() as group:
                    for _ in range(SENDERS):
                        group.create_task(self._send_next(client, waiting, started))

    async def _send_next(
        self, client: httpx.AsyncClient, waiting: Iterator[tuple[int, NewOrder]], started: float
    ) -> None:
        for number, order in waiting:
            await asyncio.sleep(started + number * self._interval - time.monotonic())
            self.accepted[order.reference] = await self._accepted(client, order)

    async def _accepted(self, client: httpx.AsyncClient, order: NewOrder) -> str:
        """The id under which an order was accepted."""
        body = order_json(order)
        response = await self._answer(client, "POST", "/orders", body)
        if response.status_code not in {202, 409}:
            raise NotAcceptedError(f"order {order.reference}: {response.status_code} {response.text[:500]}")
        location = str(response.headers.get("location", ""))
        if response.status_code == 409:
            found = await self._answer(client, "GET", location)
            if found.status_code != 200 or found.json().get("reference") != order.reference:
                raise NotAcceptedError(f"order {order.reference}: {location!r} is another order: {found.text[:500]}")
        return location.rpartition("/")[2]

    async def _answer(
        self, client: httpx.AsyncClient, method: str, path: str, body: object | None = None
    ) -> httpx.Response:
        """The first answer that is no 5xx. Raises NotAcceptedError when none comes for too long."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                response = await client.request(method, path, json=body)
            except httpx.TransportError as error:
                problem = f"no answer ({type(error).__name__}: {error})"
            else:
                if response.status_code < 500:
                    return response
                problem = f"{response.status_code} {response.text[:500]}"
            if time.monotonic() > until:
                raise NotAcceptedError(
                    f"{method} {path} for {PATIENCE_SECONDS:g} s without success; the last: {problem}"
                )
            self.sent_again += 1
            await asyncio.sleep(PAUSE_SECONDS)
