"""Queries and changes of dead letters: list, group, show; replay, discard, restore.

A change runs in batches, and each batch is one transaction. After an interruption whole batches are done and the rest
is unchanged, so the same command run again finishes the work. A change leaves out the dead letters that arrive while it
runs: a replayed message may be dead-lettered again at once, and the replay would never end. Called by
`ops.cli.dead_letters_commands`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ops.errors import OpsError, OptionError
from ops.orders.find import id_of, uuid_of
from orders import repository
from orders.workflow import BY_QUEUE, UNROUTED_QUEUE
from outbox.dead_letters import queries, replay
from outbox.dead_letters.queries import DeadLetter, Group, Position, Selection, WholeDeadLetter
from outbox.dead_letters.replay import Act, Changed
from outbox.dead_letters.replay_plan import BATCH, Pace, RefusedDeadLetter, Replayed, Sending
from outbox.missing_partition import NoSegmentError
from runtime.database import is_unavailable, lacks_schema, make_engine, may_pass
from runtime.settings import Settings

T = TypeVar("T")


@dataclass(slots=True)
class ChangeReport:
    """The result of a change: how many dead letters, the refused ones, and for a plan each sending and its order."""

    dead_letters: int = 0
    refused: list[RefusedDeadLetter] = field(default_factory=list)
    sendings: list[Sending] = field(default_factory=list)
    orders: dict[str, str] = field(default_factory=dict)


def listed(settings: Settings, selection: Selection) -> list[DeadLetter]:
    """The dead letters of a selection, oldest first. Raises OpsError."""
    return _ask(settings, selection, queries.find)


def grouped(settings: Settings, selection: Selection) -> list[Group]:
    """The dead letters of a selection by cause. Raises OpsError."""
    return _ask(settings, selection, queries.groups)


def shown(settings: Settings, dead_letter_id: int) -> WholeDeadLetter:
    """One dead letter with everything. Raises OpsError."""
    dead_letter = _ask(settings, Selection(), lambda tx, _: queries.whole(tx, dead_letter_id))
    if dead_letter is None:
        raise OpsError(
            f"there is no dead letter {dead_letter_id}; `waybill dead-letters list` shows those that there are"
        )
    return dead_letter


def numbers(settings: Settings, subjects: Iterable[str | None]) -> dict[str, str]:
    """The numbers of the orders among the subjects of dead letters, by id. Raises OpsError."""

    async def work(engine: AsyncEngine, report: ChangeReport) -> None:
        report.orders = await _orders(engine, subjects)

    return _run(settings, work).orders


def replayed(settings: Settings, selection: Selection, act: Act, rate: float | None) -> ChangeReport:
    """Send the open dead letters of a selection again, `rate` of them a second or all at once. Raises OpsError."""
    exchange = settings.event_exchange

    async def send(tx: AsyncConnection, chosen: Selection, pace: Pace | None, after: Position | None) -> Replayed:
        return await replay.replay(tx, chosen, act, exchange, pace, after)

    return _run(settings, lambda engine, report: _send(engine, settings, selection, rate, send, report))


def planned(settings: Settings, selection: Selection, rate: float | None) -> ChangeReport:
    """The plan of a replay: each sending, and the numbers of the orders. Changes nothing. Raises OpsError."""

    async def plan(tx: AsyncConnection, chosen: Selection, pace: Pace | None, after: Position | None) -> Replayed:
        return await replay.plan(tx, chosen, settings.event_exchange, pace, after)

    async def work(engine: AsyncEngine, report: ChangeReport) -> None:
        await _send(engine, settings, selection, rate, plan, report, keep=True)
        report.orders = await _orders(engine, (sending.dead_letter.subject for sending in report.sendings))

    return _run(settings, work)


def discarded(settings: Settings, selection: Selection, act: Act) -> ChangeReport:
    """Discard the open dead letters of a selection. Raises OpsError."""
    return _run(settings, lambda engine, report: _change(engine, settings, selection, act, replay.discard, report))


def restored(settings: Settings, selection: Selection, act: Act) -> ChangeReport:
    """Open the discarded dead letters of a selection again. Raises OpsError."""
    return _run(settings, lambda engine, report: _change(engine, settings, selection, act, replay.restore, report))


SendBatch = Callable[[AsyncConnection, Selection, Pace | None, Position | None], Awaitable[Replayed]]
ChangeBatch = Callable[[AsyncConnection, Selection, Act, Position | None], Awaitable[Changed]]


async def _send(
    engine: AsyncEngine,
    settings: Settings,
    selection: Selection,
    rate: float | None,
    send: SendBatch,
    report: ChangeReport,
    *,
    keep: bool = False,
) -> None:
    """Send batch by batch. With `keep` the report lists every sending."""
    selection, started = await _as_of_now(engine, settings, selection)
    pace = None if rate is None else Pace(started, rate)
    after: Position | None = None
    while (left := _left(selection, report)) != 0:
        async with engine.begin() as tx:
            batch = await send(tx, replace(selection, limit=left), pace, after)
        if batch.last is None:
            return
        after, pace = batch.last, pace and pace.after(len(batch.sendings))
        report.dead_letters += len(batch.sendings)
        report.refused += batch.refused
        report.sendings += batch.sendings if keep else ()


async def _change(
    engine: AsyncEngine, settings: Settings, selection: Selection, act: Act, change: ChangeBatch, report: ChangeReport
) -> None:
    selection, _ = await _as_of_now(engine, settings, selection)
    after: Position | None = None
    while (left := _left(selection, report)) != 0:
        async with engine.begin() as tx:
            batch = await change(tx, replace(selection, limit=left), act, after)
        if batch.last is None:
            return
        after = batch.last
        report.dead_letters += len(batch.dead_letters)
        report.refused += batch.refused


def _left(selection: Selection, report: ChangeReport) -> int:
    """The largest size of the next batch."""
    if selection.limit is None:
        return BATCH
    return min(BATCH, selection.limit - report.dead_letters - len(report.refused))


async def _as_of_now(engine: AsyncEngine, settings: Settings, selection: Selection) -> tuple[Selection, datetime]:
    """The selection of the dead letters that exist now, and the database's time."""
    async with engine.begin() as tx:
        selection = await _resolved(tx, settings, selection)
        now = await queries.now(tx)
    return replace(selection, until=min(selection.until or now, now)), now


async def _resolved(tx: AsyncConnection, settings: Settings, selection: Selection) -> Selection:
    """The selection with its order's id in place of the name. Raises OptionError for an unknown order or queue."""
    await _refuse_unknown_queues(tx, settings, selection)
    if selection.subject is None:
        return selection
    order_id = await id_of(tx, selection.subject) or uuid_of(selection.subject)  # a dead letter's order may be unknown
    if order_id is None:
        raise OptionError(
            f"--order {selection.subject!r} is not an order; give its id, its number (WB-00000001) or its client's "
            "reference"
        )
    return replace(selection, subject=str(order_id))


async def _refuse_unknown_queues(tx: AsyncConnection, settings: Settings, selection: Selection) -> None:
    """Raise OptionError for a misspelt queue, which would pass for an empty one.

    A queue of no step may have dead letters: those that the relay could not publish name their destination.
    """
    known = (*BY_QUEUE, UNROUTED_QUEUE, settings.event_exchange)
    for queue in selection.queues:
        if queue not in known and not await queries.find(tx, Selection(queues=(queue,), state=None, limit=1)):
            raise OptionError(f"--queue {queue!r} has no dead letters and is not one of the queues: {', '.join(known)}")


async def _orders(engine: AsyncEngine, subjects: Iterable[str | None]) -> dict[str, str]:
    """The orders among the subjects, each with its number."""
    ids = [order_id for subject in dict.fromkeys(subjects) if (order_id := uuid_of(subject)) is not None]
    async with engine.begin() as tx:
        known = await repository.numbers(tx, ids)
    return {str(order_id): known[order_id] for order_id in ids if order_id in known}


def _ask(settings: Settings, selection: Selection, query: Callable[[AsyncConnection, Selection], Awaitable[T]]) -> T:
    """The result of one query."""
    answers: list[T] = []

    async def work(engine: AsyncEngine, _: ChangeReport) -> None:
        async with engine.begin() as tx:
            answers.append(await query(tx, await _resolved(tx, settings, selection)))

    _run(settings, work)
    return answers[0]


def _run(settings: Settings, work: Callable[[AsyncEngine, ChangeReport], Coroutine[Any, Any, None]]) -> ChangeReport:
    """Run a coroutine in an event loop of its own. Raises OpsError, which says how many dead letters were changed."""
    report = ChangeReport()

    async def main() -> None:
        async with _engine(settings) as engine:
            await work(engine, report)

    try:
        asyncio.run(main())
    except (OSError, DBAPIError, NoSegmentError, TimeoutError) as error:
        raise _for_operator(error, report) from error
    return report


def _for_operator(error: Exception, report: ChangeReport) -> Exception:
    """A database error as OpsError if an operator can correct it, else the error itself."""
    done = (
        f"; {report.dead_letters} dead letters were changed before; run the command again for the others"
        if report.dead_letters
        else ""
    )
    if lacks_schema(error):
        return OpsError("the database lacks a table or column of this version: run `waybill migrate`")
    if is_unavailable(error):
        return OpsError(f"PostgreSQL does not answer: {error}{done or '; `make up` starts what was stopped here'}")
    if may_pass(error) or isinstance(error, NoSegmentError):
        return OpsError(f"the change failed for now: {str(error).splitlines()[0]}{done or '; nothing was changed'}")
    return error


@asynccontextmanager
async def _engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(settings, "waybill dead-letters")
    try:
        yield engine
    finally:
        await engine.dispose()
