"""The collector's gauges of orders (status, age, kept promise) and of scheduled messages."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from sqlalchemy.event import listen
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs

from consumers.collector.metrics import WATCHED
from consumers.collector.order_gauges import OrderGauges
from consumers.collector.process import count_once
from consumers.collector.refresh import PAUSE_PER_SECOND, Refresh, keep_fresh, refreshes, run_once, watch_orders
from orders import counts
from orders.counts import OF_AGE, UNFINISHED
from orders.model import Status
from orders.workflow import PROMISED_SECONDS
from outbox.schedule import schedule
from tests.support.builders.events import new_event
from tests.support.builders.order_rows import place
from tests.support.probes.database import connected, engine_of
from tests.support.proxies.postgres_proxy import proxied

PROMISED = timedelta(seconds=PROMISED_SECONDS)
MICROSECOND = timedelta(microseconds=1)


def value(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(name, labels)
    assert found is not None
    return found


def orders() -> dict[str, float]:
    """Orders by status, without those that no order has."""
    found = {status.value: REGISTRY.get_sample_value("waybill_orders", {"status": status.value}) for status in Status}
    return {status: count for status, count in found.items() if count}


def judged() -> tuple[float, float]:
    """In time, late."""
    return value("waybill_orders_due_total", outcome="in_time"), value("waybill_orders_due_total", outcome="late")


def last_read(figure: str) -> float:
    return value("waybill_orders_watch_last_success_timestamp_seconds", figure=figure)


def since(before: tuple[float, float]) -> tuple[float, float]:
    now = judged()
    return now[0] - before[0], now[1] - before[1]


async def refreshed(url: str, *reads: Callable[[AsyncConnection], Awaitable[None]]) -> None:
    """Look once at each, without a failure."""
    with capture_logs() as reported:
        async with engine_of(url) as engine:
            for read in reads:
                await run_once(Refresh("overdue", read), engine)
    assert reported == []


async def test_orders_are_counted_by_status_and_a_status_that_empties_is_zero(shared_database_url: str) -> None:
    figures = OrderGauges(time.monotonic())
    async with connected(shared_database_url) as (connection,):
        for status in Status:
            await place(connection, status.value, timedelta(seconds=1))
        await place(connection, "completed", timedelta(days=1))
        await refreshed(shared_database_url, figures.unfinished, figures.finished)
        assert orders() == {**{status.value: 1 for status in Status}, "completed": 2}
        await connection.execute("DELETE FROM orders WHERE status NOT IN ('synced', 'completed')")
        await refreshed(shared_database_url, figures.unfinished, figures.finished)
        assert orders() == {"synced": 1, "completed": 2}


def test_the_finished_have_no_figure_before_they_were_counted() -> None:
    program = (
        "from consumers.collector import metrics; "
        "print([s.labels['status'] for s in metrics.ORDERS.collect()[0].samples])"
    )
    reported = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert reported.strip() == str([status.value for status in UNFINISHED])


async def test_the_oldest_order_of_a_status_ages_between_two_readings_and_is_gone_when_it_moves_on(
    shared_database_url: str,
) -> None:
    def ages() -> dict[str, float]:
        return {status: value("waybill_orders_oldest_age_seconds", status=status) for status in UNFINISHED}

    figures = OrderGauges(time.monotonic())
    async with connected(shared_database_url) as (connection,):
        old = await place(connection, "reserved", timedelta(seconds=500))
        await place(connection, "reserved", timedelta(seconds=100))
        await place(connection, "completed", timedelta(seconds=900))
        await refreshed(shared_database_url, figures.unfinished)
        first = ages()["reserved"]
        assert 500 <= first < 600
        assert ages()["reserved"] > first
        assert [age for status, age in ages().items() if status != "reserved"] == [0] * (len(UNFINISHED) - 1)
        await connection.execute("UPDATE orders SET status = 'synced' WHERE id = $1", old)
        await refreshed(shared_database_url, figures.unfinished)
        assert 100 <= ages()["reserved"] < 200
        assert ages()["synced"] > first


async def test_an_order_is_judged_once_by_the_microsecond_and_not_before_it_is_of_age(shared_database_url: str) -> None:
    figures, before = OrderGauges(time.monotonic() - 3600), judged()  # and finds Postgres now
    async with connected(shared_database_url) as (connection,):
        for status in ("completed", "rejected"):
            await place(connection, status, OF_AGE, finished_after=PROMISED)
        await place(connection, "completed", OF_AGE, finished_after=PROMISED + MICROSECOND)
        await place(connection, "pending", OF_AGE)
        young = await place(connection, "pending", OF_AGE - timedelta(seconds=30))
        await refreshed(shared_database_url, figures.promise, figures.promise)
        assert since(before) == (2, 2)
        await connection.execute("UPDATE orders SET placed_at = $2 WHERE id = $1", young, datetime.now(UTC) - OF_AGE)
        await refreshed(shared_database_url, figures.promise, figures.promise)
        assert since(before) == (2, 3)


async def test_a_long_absence_is_judged_a_stretch_at_a_time_and_at_once(shared_database_url: str) -> None:
    figures, before, statements = OrderGauges(time.monotonic() - 3.5 * 3600), judged(), []
    async with connected(shared_database_url) as (connection,), engine_of(shared_database_url) as engine:
        for hours in (0, 1, 2, 3):
            await place(connection, "pending", OF_AGE + timedelta(hours=hours))
        listen(engine.sync_engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
        await run_once(Refresh("promise", figures.promise), engine)
    assert since(before) == (0, 4)
    assert len([one for one in statements if "in_time" in one]) == 4


async def test_a_clock_that_is_set_back_judges_no_order_again(
    shared_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = counts.due

    async def set_back(tx: AsyncConnection, since: datetime) -> counts.Due:
        return replace(await due(tx, since), until=datetime.now(UTC) - timedelta(minutes=30))

    figures, before = OrderGauges(time.monotonic() - 600), judged()
    async with connected(shared_database_url) as (connection,):
        await place(connection, "pending", OF_AGE)
        await refreshed(shared_database_url, figures.promise)
        with monkeypatch.context() as patched:
            patched.setattr(counts, "due", set_back)
            await refreshed(shared_database_url, figures.promise)
        await refreshed(shared_database_url, figures.promise)
        assert since(before) == (0, 1)


async def test_orders_that_come_of_age_while_postgres_is_away_are_judged_when_it_is_back(
    shared_database_url: str,
) -> None:
    figures, before = OrderGauges(time.monotonic()), judged()
    refresh = Refresh("promise", figures.promise, 0.01)
    async with connected(shared_database_url) as (connection,), proxied(shared_database_url) as proxy:
        await place(connection, "pending", OF_AGE + timedelta(seconds=60))  # was of age before the process began
        for judged_by_now in (1, 2):
            proxy.cut()
            async with engine_of(proxy.url) as engine:
                with capture_logs() as reported:
                    assert await run_once(refresh, engine) == refresh.pause_seconds
            assert [line["event"] for line in reported] == ["orders_not_watched"]
            await place(connection, "pending", OF_AGE)
            proxy.restore()
            await refreshed(proxy.url, figures.promise)
            assert since(before) == (0, judged_by_now)


@pytest.mark.parametrize(("figure", "index"), [("unfinished", "orders_unfinished"), ("promise", "orders_newest")])
async def test_what_is_read_all_day_is_read_by_an_index(shared_database_url: str, figure: str, index: str) -> None:
    statements: list[tuple[str, tuple[object, ...]]] = []
    async with connected(shared_database_url) as (connection,), engine_of(shared_database_url) as engine:
        listen(
            engine.sync_engine,
            "before_cursor_execute",
            lambda _connection, _cursor, statement, values, *_: statements.append((statement, values)),
        )
        await run_once(Refresh(figure, getattr(OrderGauges(time.monotonic()), figure)), engine)
        await connection.execute("SET enable_seqscan = off")
        statement, values = statements[-1]
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *values))
        assert index in plan


async def test_what_waits_in_postgres_is_counted_by_queue_and_no_stranger_makes_a_series(
    shared_database_url: str,
) -> None:
    def scheduled() -> dict[str, float]:
        samples = next(iter(metric for metric in REGISTRY.collect() if metric.name == "waybill_scheduled_messages"))
        return {sample.labels["queue"]: sample.value for sample in samples.samples if sample.value}

    later = datetime.now(UTC) + timedelta(hours=1)
    figures = OrderGauges(time.monotonic())
    async with engine_of(shared_database_url) as engine, engine.begin() as tx:
        for destination in ("sap", "sap", "email", "a-strangers-queue", None):
            await schedule(tx, new_event(), destination, later)
    await refreshed(shared_database_url, figures.scheduled)
    assert scheduled() == {"sap": 2, "email": 1, "other": 2}
    async with connected(shared_database_url) as (connection,):
        await connection.execute("DELETE FROM outbox.scheduled WHERE destination = 'sap'")
    await refreshed(shared_database_url, figures.scheduled)
    assert scheduled() == {"email": 1, "other": 2}


async def test_a_figure_takes_about_a_hundredth_of_the_time_at_most(shared_database_url: str) -> None:
    async def slow(tx: AsyncConnection) -> None:
        await tx.exec_driver_sql("SELECT pg_sleep(0.1)")

    async def refused(tx: AsyncConnection) -> None:
        await tx.exec_driver_sql("SET statement_timeout = '100ms'")
        await tx.exec_driver_sql("SELECT pg_sleep(60)")

    async with engine_of(shared_database_url) as engine:
        assert await run_once(Refresh("slow", slow), engine) >= 10
        with capture_logs() as reported:
            assert await run_once(Refresh("refused", refused), engine) >= 10
        assert [line["figure"] for line in reported] == ["refused"]
        assert Refresh("quick", slow).pause_after(0.001) == Refresh("quick", slow).pause_seconds


def test_a_gauge_with_an_alert_is_refreshed_within_a_minute_however_long_it_took() -> None:
    longest = {refresh.figure: refresh.pause_after(30) for refresh in refreshes(OrderGauges(time.monotonic()))}
    assert longest.pop("finished") == 30 * PAUSE_PER_SECOND
    assert set(longest.values()) == {60}


async def test_each_figure_says_when_it_was_read_and_one_that_fails_stays_behind(shared_database_url: str) -> None:
    async def refused(_: AsyncConnection) -> None:
        raise OSError("refused")

    async with engine_of(shared_database_url) as engine:
        everything = refreshes(OrderGauges(time.monotonic()))
        assert {refresh.figure for refresh in everything} | {"dead_letters"} == set(WATCHED)
        before = {figure: last_read(figure) for figure in WATCHED}
        for refresh in everything:
            await run_once(replace(refresh, read=refused) if refresh.figure == "promise" else refresh, engine)
        await count_once(engine)
        assert {figure for figure in WATCHED if last_read(figure) == before[figure]} == {"promise"}


async def test_a_refresh_that_fails_delays_no_other_and_all_end_at_a_stop(shared_database_url: str) -> None:
    async with connected(shared_database_url) as (connection,), engine_of(shared_database_url) as engine:
        stopping = asyncio.Event()
        figures = OrderGauges(time.monotonic())
        await connection.execute("ALTER TABLE orders RENAME TO hidden")
        with capture_logs() as reported:
            watching = asyncio.create_task(keep_fresh(Refresh("u", figures.unfinished, 0.01), engine, stopping))
            try:
                await until(lambda: len(reported) >= 2)
            finally:
                await connection.execute("ALTER TABLE hidden RENAME TO orders")
        assert {(line["event"], line["figure"]) for line in reported} == {("orders_not_watched", "u")}
        await place(connection, "pending", timedelta(seconds=1))
        await until(lambda: orders().get("pending") == 1)
        everything = asyncio.create_task(watch_orders(engine, stopping))
        before = last_read("promise")
        await until(lambda: last_read("promise") > before)
        assert not watching.done()
        assert not everything.done()
        stopping.set()
        await watching
        await everything


async def until(holds: Callable[[], bool]) -> None:
    """Return once it holds; the scenario's own time limit ends a wait in vain."""
    while not holds():  # noqa: ASYNC110 - the gauge sends no signal
        await asyncio.sleep(0.005)
