"""`waybill orders show`: found by id, number or reference; its timeline fits a terminal and a pipe."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO

import pytest
from rich.console import Console
from typer.testing import CliRunner

from ops.cli.main import app
from ops.cli.timeline_view import print_story, sentence
from orders.model import Order
from orders.tracking.load import load_timeline, repeatable_read
from orders.tracking.timeline import AttemptOutcome, Entry, EntryKind, Timeline
from outbox.dead_letters.queries import Selection
from outbox.dead_letters.replay import Act, discard
from outbox.dead_letters.store import store
from runtime.settings import load_settings
from tests.support.builders.audited_orders import WAY, AuditedOrders, audited, own_inbox, own_sap
from tests.support.builders.dead_letters import dead_letter_for
from tests.support.processes.sandboxes import Sap

__all__ = ["audited", "own_inbox", "own_sap"]


@pytest.fixture
def shown(module_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """The output of `waybill orders show NAME`."""
    monkeypatch.setenv("DATABASE_URL", module_database)
    monkeypatch.setenv("AMQP_URL", "amqp://127.0.0.1:1/")
    monkeypatch.setenv("COLUMNS", "80")
    load_settings.cache_clear()

    def show(name: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["orders", "show", name])
        assert result.exit_code == code, result.output
        return result.output

    yield show
    load_settings.cache_clear()


async def timeline_of(audited: AuditedOrders, order: Order) -> Timeline:
    async with repeatable_read(audited.harness.ctx.engine).begin() as tx:
        return await load_timeline(tx, await audited.harness.order(order.id))


async def go(audited: AuditedOrders, order: Order) -> None:
    """Run an order to its end, each event published before its steps run."""
    for kind in WAY:
        await audited.read_outbox()
        await audited.hear(order, kind)


async def test_a_completed_order_shows_its_whole_timeline(audited: AuditedOrders, shown: Callable[..., str]) -> None:
    order = await audited.harness.place_order()
    await go(audited, order)
    whole = await timeline_of(audited, order)
    assert (whole.waits_for, whole.remarks) == ((), ())
    for kind in WAY:
        messages = [one.what for one in whole.entries if one.event == kind and one.step is None]
        assert messages == [EntryKind.COMMITTED, EntryKind.PUBLISHED, EntryKind.CONFIRMED]
    attempts = [one.step for one in whole.entries if one.what is EntryKind.ATTEMPT]
    assert attempts[:3] == ["validate_order", "reserve_inventory", "sync_order_to_sap"]
    assert (len(attempts), attempts[-1]) == (7, "finalize_order")
    assert whole.entries[0].what is EntryKind.ACCEPTED
    assert EntryKind.COMPLETED in {one.what for one in whole.entries}
    assert all(one.gap_ms is None or one.gap_ms >= 0 for one in whole.entries)

    text = await asyncio.to_thread(shown, order.number)
    lines = text.splitlines()
    assert f"Order {order.number}  completed" in text
    assert "waits for" not in text
    (line,) = [one for one in lines if "sync_order_to_sap, attempt 1 by test@" in one]
    assert ": done in " in line
    assert len([one for one in lines if one.endswith(" order.synced confirmed")]) == 1


async def test_an_order_is_found_by_its_id_its_number_and_its_reference(
    audited: AuditedOrders, shown: Callable[..., str]
) -> None:
    order = await audited.harness.place_order()
    names = (str(order.id), order.number, order.number.lower(), order.reference)
    for name in names:
        text = await asyncio.to_thread(shown, name)
        assert f"Order {order.number}  pending" in text
        assert "waits for     validate_order: not begun: its event waits in the outbox" in text
    text = await asyncio.to_thread(shown, "WB-99999999", 1)
    assert "there is no order 'WB-99999999'" in text


def test_an_attempt_names_its_generation_where_that_is_another_number() -> None:
    ended = Entry(
        datetime.now(UTC), EntryKind.ATTEMPT, step="s", generation=4, attempt=1, worker="w", outcome=AttemptOutcome.LOST
    )
    assert sentence(ended).startswith("s, attempt 1 (generation 4) by w: ")
    assert sentence(replace(ended, attempt=4)).startswith("s, attempt 4 by w: ")


async def test_errors_are_printed_in_whole_lines_to_a_pipe_and_in_eighty_columns_to_a_terminal(
    audited: AuditedOrders, shown: Callable[..., str], own_sap: Sap
) -> None:
    error = "400: the material [SKU-0815] of item 10 is not maintained in plant 1000, distribution channel 10"

    order = await audited.harness.place_order()
    await audited.go(order, until="inventory.reserved")
    reserved = await audited.harness.event(order, "inventory.reserved")
    own_sap.faults(error_rate=1)
    await audited.harness.deliver("sync_order_to_sap", reserved)
    own_sap.faults(error_rate=0)
    async with audited.harness.ctx.engine.begin() as tx:
        await store(tx, [dead_letter_for(reserved, error=error)])
        selection = Selection(subject=str(order.id))
        await discard(tx, selection, Act("anna@desk", "the customer does not want it any more"))

    text = await asyncio.to_thread(shown, order.number)
    (failed,) = [one for one in text.splitlines() if "sync_order_to_sap, attempt 1 by" in one]
    assert "failed after" in failed
    (dead_letter,) = [one for one in text.splitlines() if "(rejected)" in one]
    assert dead_letter.endswith(f"in sap (rejected): {error}")
    (deed,) = [one for one in text.splitlines() if "discarded by" in one]
    assert deed.endswith("discarded by anna@desk: the customer does not want it any more")

    terminal = Console(file=StringIO(), width=80, force_terminal=True, color_system=None, highlight=False)
    print_story(terminal, await timeline_of(audited, order))
    printed = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, printed.splitlines())) <= 80
    assert error in " ".join(printed.split())
