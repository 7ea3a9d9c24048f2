"""`waybill orders show ID`: one order and how far each of its steps has come."""

import asyncio
from uuid import UUID

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ops.errors import OpsError
from ops.target import settings_in_question
from orders import repository, service
from orders.model import Order, StepProgress
from outbox.letter_search import OpenLetter, open_letters_of
from runtime.database import is_unavailable, make_engine
from runtime.settings import Settings

STEP_COLOURS = {"done": "green", "pending": "dim", "retrying": "yellow", "dead": "red"}


def show_order(order_id: str) -> None:
    """Print the order. Raises OpsError when the id is none, nothing has it, or the database is away."""
    try:
        wanted = UUID(order_id)
    except ValueError as error:
        raise OpsError(f"{order_id!r} is not an order id; it is the UUID that POST /orders returned") from error
    try:
        found = asyncio.run(_load(settings_in_question(), wanted))
    except Exception as error:
        if is_unavailable(error):
            raise OpsError(f"PostgreSQL does not answer: {error}") from error
        raise
    if found is None:
        raise OpsError(f"there is no order {wanted}")
    order, steps, letters = found
    console = Console(highlight=False)
    _print_order(console, order)
    for letter in letters:
        _print_attention(console, letter)
    _print_steps(console, steps)


async def _load(settings: Settings, order_id: UUID) -> tuple[Order, list[StepProgress], list[OpenLetter]] | None:
    engine = make_engine(settings, "waybill orders show")
    try:
        async with engine.begin() as tx:
            order = await repository.get(tx, order_id)
            if order is None:
                return None
            return order, await service.progress(tx, order), await open_letters_of(tx, str(order.id))
    finally:
        await engine.dispose()


def _print_order(console: Console, order: Order) -> None:
    console.print(f"[bold]Order {escape(order.number)}[/]  {order.status.value}", soft_wrap=True)
    facts = {
        "reference": order.reference,
        "customer": f"{order.customer.name} <{order.customer.email}>",
        "net total": f"{order.net_total} {order.currency}",
        "placed": order.placed_at.isoformat(sep=" ", timespec="milliseconds"),
        "SAP document": order.sap_document,
        "invoice": order.invoice_number,
    }
    for name, value in facts.items():
        if value is not None:
            console.print(f"  {name:<13} {escape(value)}", soft_wrap=True)
    for reason in order.reject_reasons:
        console.print(f"  [red]rejected[/]      {escape(reason.message)}", soft_wrap=True)
    table = Table("SKU", "Quantity", "Unit price", "Discount", "Net")
    for line in order.lines:
        table.add_row(escape(line.sku), str(line.quantity), str(line.unit_price), f"{line.discount:.0%}", str(line.net))
    console.print(table)


def _print_attention(console: Console, letter: OpenLetter) -> None:
    error = escape(" ".join((letter.error or "").split()))
    console.print(
        f"  [red]needs attention[/] letter {letter.letter} in {escape(letter.queue)}, {letter.reason}: {error}\n"
        f"                  `waybill dead-letters show {letter.letter}`",
        soft_wrap=True,
    )


def _print_steps(console: Console, steps: list[StepProgress]) -> None:
    table = Table("Step", "State", "Attempt", "Next try", "Finished", "Error")
    for step in steps:
        colour = STEP_COLOURS.get(step.state.value, "white")
        finished = step.finished_at.time().isoformat("milliseconds") if step.finished_at else ""
        due = step.next_try_at.isoformat(sep=" ", timespec="seconds") if step.next_try_at else ""
        error = escape(step.error or "")
        table.add_row(step.step, f"[{colour}]{step.state.value}[/]", str(step.attempt or ""), due, finished, error)
    console.print(table)
