"""`waybill orders show ORDER`: prints an order, the progress of its steps, its timeline, and what blocks it."""

import asyncio
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ops.cli.timeline_view import print_story
from ops.errors import OpsError
from ops.orders.find import id_of
from ops.target import target_settings
from orders import repository, service
from orders.model import Order, StepProgress
from orders.tracking.load import load_timeline, repeatable_read
from orders.tracking.timeline import Timeline
from orders.tracking.waiting import PendingStep
from orders.tracking.wording import one_line
from outbox.dead_letters.still_open import OpenDeadLetter, open_dead_letters_of
from runtime.database import is_unavailable, make_engine
from runtime.settings import Settings

STEP_COLOURS = {"done": "green", "pending": "dim", "retrying": "yellow", "dead": "red"}


@dataclass(frozen=True, slots=True)
class Shown:
    """The data that is printed of an order."""

    order: Order
    steps: list[StepProgress]
    dead_letters: list[OpenDeadLetter]
    load_timeline: Timeline


def show_order(name: str) -> None:
    """Print the order of an id, a number or a client's reference.

    Raises OpsError if there is no such order or PostgreSQL does not answer.
    """
    try:
        shown = asyncio.run(_load(target_settings(), name))
    except Exception as error:
        if is_unavailable(error):
            raise OpsError(f"PostgreSQL does not answer: {error}") from error
        raise
    if shown is None:
        raise OpsError(f"there is no order {name!r}; give its id, its number (WB-00000001) or its client's reference")
    console = Console(highlight=False)
    _print_order(console, shown.order)
    for dead_letter in shown.dead_letters:
        _print_attention(console, dead_letter)
    for stand in shown.load_timeline.waits_for:
        _print_stand(console, stand)
    _print_lines(console, shown.order)
    _print_steps(console, shown.steps)
    print_story(console, shown.load_timeline)


async def _load(settings: Settings, name: str) -> Shown | None:
    engine = make_engine(settings, "waybill orders show")
    try:
        async with repeatable_read(engine).begin() as tx:
            order_id = await id_of(tx, name)
            order = None if order_id is None else await repository.get(tx, order_id)
            if order is None:
                return None
            steps = await service.progress(tx, order)
            return Shown(order, steps, await open_dead_letters_of(tx, str(order.id)), await load_timeline(tx, order))
    finally:
        await engine.dispose()


def _print_order(console: Console, order: Order) -> None:
    console.print(f"[bold]Order {escape(order.number)}[/]  {order.status.value}", soft_wrap=True)
    facts = {
        "id": str(order.id),
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


def _print_attention(console: Console, dead_letter: OpenDeadLetter) -> None:
    error = escape(one_line(dead_letter.error))
    console.print(
        f"  [red]needs attention[/] dead letter {dead_letter.dead_letter} in {escape(dead_letter.queue)}, "
        f"{dead_letter.reason}: {error}\n"
        f"                  `waybill dead-letters show {dead_letter.dead_letter}`",
        soft_wrap=True,
    )


def _print_stand(console: Console, stand: PendingStep) -> None:
    console.print(f"  waits for     {escape(stand.step.name)}: {escape(stand.text)}", soft_wrap=True)


def _print_lines(console: Console, order: Order) -> None:
    table = Table("SKU", "Quantity", "Unit price", "Discount", "Net")
    for line in order.lines:
        table.add_row(escape(line.sku), str(line.quantity), str(line.unit_price), f"{line.discount:.0%}", str(line.net))
    console.print(table)


def _print_steps(console: Console, steps: list[StepProgress]) -> None:
    table = Table("Step", "State", "Attempt", "Finished")
    for step in steps:
        colour = STEP_COLOURS.get(step.state.value, "white")
        finished = step.finished_at.isoformat(sep=" ", timespec="milliseconds")[:23] if step.finished_at else ""
        table.add_row(step.step, f"[{colour}]{step.state.value}[/]", str(step.attempt or ""), finished)
    console.print(table)
