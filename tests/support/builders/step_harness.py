"""Steps run by their runner in the test's own process: a WorkerContext on a migrated database, and orders to work on.

The test reads a step's events back from the outbox and hands them to the next step, in the relay's place.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID, uuid4

from sqlalchemy import RowMapping, text

from consumers.delivery.context import WorkerContext, open_context
from consumers.delivery.pipeline import StepRunner
from consumers.delivery.result import DeliveryResult
from consumers.delivery.step_kinds import StepKind
from consumers.steps.load import step_class
from orders import repository, service
from orders.events import InventoryReserved, OrderEvent, OrderFulfilled, OrderSynced, OrderValidated
from orders.model import Address, Customer, Line, NewOrder, Order, Status
from orders.workflow import BY_NAME
from outbox.envelope import Event
from runtime.settings import Settings

Result = TypeVar("Result")

CUSTOMER = Customer(
    "Blondel père et fils", "blondel@customers.example", Address("24, place Kléber", "Strasbourg", "France")
)
_EVENT = "event_id, type, subject, source, time, data, dataschema, traceparent, generation"


@dataclass(frozen=True)
class Scheduled:
    """A message that waits: when and to which queue it goes."""

    due_at: datetime
    destination: str
    event: Event


class StepHarness:
    """One open worker context with its steps, and short names for what the tests do again and again."""

    def __init__(self, ctx: WorkerContext) -> None:
        self.ctx = ctx
        self._steps: dict[str, StepKind] = {}

    async def sql(self, statement: str, **values: object) -> Sequence[RowMapping]:
        """Execute one statement and commit; returns its rows."""
        async with self.ctx.engine.begin() as tx:
            result = await tx.execute(text(statement), values)
            return result.mappings().all() if result.returns_rows else []

    async def value(self, statement: str, **values: object) -> Any:
        """The one value of a query."""
        (row,) = await self.sql(statement, **values)
        (value,) = row.values()
        return value

    async def product(self, available: int = 1000, *prices: str, sellable: bool = True, currency: str = "USD") -> str:
        """A new product's SKU."""
        sku = f"SKU-{uuid4().hex[:12]}"
        await self.sql(
            "INSERT INTO products (sku, name, sellable, available) VALUES (:sku, :sku, :sellable, :available)",
            sku=sku,
            sellable=sellable,
            available=available,
        )
        for price in prices or ("14",):
            await self.sql(
                "INSERT INTO product_prices (sku, currency, unit_price) VALUES (:sku, :currency, :price)",
                sku=sku,
                currency=currency,
                price=Decimal(price),
            )
        return sku

    async def available(self, sku: str) -> int:
        """Units of a product that can still be sold."""
        return int(await self.value("SELECT available FROM products WHERE sku = :sku", sku=sku))

    async def place_order(self, *lines: Line, customer: Customer = CUSTOMER, currency: str = "USD") -> Order:
        """A new order, as the API places it; without lines, one line of a product of its own."""
        lines = lines or (Line(await self.product(), 2, Decimal("14.00"), Decimal("0.05")),)
        new = NewOrder(reference=f"PO-{uuid4().hex}", customer=customer, currency=currency, lines=lines)
        async with self.ctx.engine.begin() as tx:
            placed = await service.place(tx, new, self.ctx.settings.event_source)
            assert isinstance(placed, service.Placed)
        return await self.order(placed.order_id)

    async def order(self, order_id: UUID) -> Order:
        """An order as it stands now."""
        async with self.ctx.engine.connect() as tx:
            order = await repository.get(tx, order_id)
        assert order is not None
        return order

    async def events(self, order: Order, kind: str) -> list[Event]:
        """The events of one type that were recorded for an order, oldest first."""
        rows = await self.sql(
            f"SELECT {_EVENT} FROM outbox.events WHERE subject = :id AND type = :kind ORDER BY id",
            id=str(order.id),
            kind=kind,
        )
        return [_event(row) for row in rows]

    async def event(self, order: Order, kind: str) -> Event:
        """The one event of this type that was recorded for an order."""
        (event,) = await self.events(order, kind)
        return event

    async def scheduled(self, event: Event) -> list[Scheduled]:
        """The queue and the time of an event's next delivery."""
        rows = await self.sql(
            f"SELECT due_at, destination, {_EVENT} FROM outbox.scheduled WHERE event_id = :id ORDER BY due_at",
            id=event.id,
        )
        return [Scheduled(row["due_at"], row["destination"], _event(row)) for row in rows]

    async def delivery(self, queue: str, event: Event) -> RowMapping | None:
        """The inbox row of one consumer for one event."""
        rows = await self.sql(
            "SELECT * FROM outbox.deliveries WHERE consumer = :queue AND event_id = :id", queue=queue, id=event.id
        )
        return rows[0] if rows else None

    async def inbox_row(self, queue: str, event: Event) -> RowMapping:
        """As `delivery`, for a row that must be there."""
        row = await self.delivery(queue, event)
        assert row is not None, f"{queue} has no inbox row of {event.type}"
        return row

    async def shown(self, order: Order, step: str) -> RowMapping:
        """The row of `order_steps` of one step."""
        (row,) = await self.sql(
            "SELECT * FROM order_steps WHERE order_id = :id AND step = :step", id=order.id, step=step
        )
        return row

    def runner(self, step: str, double: StepKind | None = None) -> StepRunner:
        """A step's runner; with `double`, the test's own code under the step's name."""
        return StepRunner(BY_NAME[step], double or self.step(step), self.ctx)

    def step(self, name: str) -> StepKind:
        """The code of a step, with its adapters."""
        if name not in self._steps:
            self._steps[name] = step_class(BY_NAME[name]).open(self.ctx.settings)
        return self._steps[name]

    async def close(self) -> None:
        """Close the steps' adapters and the context."""
        for step in self._steps.values():
            await step.close()
        await self.ctx.close()

    async def deliver(self, step: str, event: Event) -> DeliveryResult:
        """Run one delivery of a step as it is."""
        return await self.runner(step).deliver(event)

    async def validated(self, *lines: Line) -> tuple[Order, Event]:
        """An order before the inventory step, and the event that the step reacts to."""
        order = await self.place_order(*lines)
        return await self._moved(order, OrderValidated(order.id, order.number, order.reference), Status.VALIDATED)

    async def reserved(self, *lines: Line) -> tuple[Order, Event]:
        """An order before the SAP step, and the event that the step reacts to."""
        order = await self.place_order(*lines)
        units = sum(line.quantity for line in order.lines)
        return await self._moved(
            order, InventoryReserved(order.id, order.number, order.reference, units), Status.RESERVED
        )

    async def synced(self, *lines: Line, customer: Customer = CUSTOMER) -> tuple[Order, Event]:
        """An order before the three joined steps, and the event that they react to."""
        order = await self.place_order(*lines, customer=customer)
        return await self._moved(order, OrderSynced(order.id, order.number, order.reference, "1"), Status.SYNCED)

    async def fulfilled(self) -> tuple[Order, Event]:
        """An order before its last step, and the event that the step reacts to."""
        order = await self.place_order()
        return await self._moved(order, OrderFulfilled(order.id, order.number, order.reference), Status.FULFILLED)

    async def rejected(self, customer: Customer = CUSTOMER) -> tuple[Order, Event]:
        """A rejected order and its `order.rejected` event."""
        order = await self.place_order(Line("SKU-NOBODY-HAS", 1, Decimal(1)), customer=customer)
        await self.deliver("validate_order", await self.event(order, "order.placed"))
        return await self.order(order.id), await self.event(order, "order.rejected")

    async def _moved(self, order: Order, event: OrderEvent, status: Status) -> tuple[Order, Event]:
        async with self.ctx.engine.begin() as tx:
            await tx.execute(
                text("UPDATE orders SET status = :status WHERE id = :id"), {"id": order.id, "status": status.value}
            )
            await service.emit(tx, event, self.ctx.settings.event_source)
        return replace(order, status=status), await self.event(order, event.type)


@asynccontextmanager
async def step_harness(settings: Settings) -> AsyncIterator[StepHarness]:
    """A harness whose context is open."""

    harness = StepHarness(open_context(settings, "waybill-test"))
    try:
        yield harness
    finally:
        await harness.close()


def with_step_harness(settings: Settings, scenario: Callable[[StepHarness], Awaitable[Result]]) -> Result:
    """Run a scenario on a loop of its own with an open harness."""

    async def run() -> Result:
        async with step_harness(settings) as given:
            return await scenario(given)

    return asyncio.run(run())


def again(event: Event, generation: int) -> Event:
    """The same event with a later generation."""
    return replace(event, generation=generation)


def _event(row: RowMapping) -> Event:
    return Event(
        id=row["event_id"],
        type=row["type"],
        subject=row["subject"],
        source=row["source"],
        time=row["time"],
        data=bytes(row["data"]),
        dataschema=row["dataschema"],
        traceparent=row["traceparent"],
        generation=row["generation"],
    )
