"""`lab observe`: a fresh system with Prometheus in a hurry, orders and faults, and then the questions.

Does it see everybody, are the shipped alert rules loaded and sound, does each panel show something, does an outage of
SAP fire its alert and its end resolve it, and are the totals those that are found where things are? The last line is
one JSON object; exit code 0 means that all of this holds.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import typer
from rich.console import Console
from rich.markup import escape
from sqlalchemy.ext.asyncio import AsyncEngine

from lab.observe import load
from lab.observe.expected_totals import truth, unsettled, youngest_order_seconds
from lab.observe.figures import Observed, failures
from lab.observe.outage import Outage, outage
from lab.observe.panels import read_panels
from lab.observe.prometheus_checks import fired_since, firing_at_rest, panels_seen, rules_evaluated, targets_up
from lab.observe.report import print_report
from lab.observe.rules import alerts_of, shown
from lab.observe.time_scaling import hastened
from lab.observe.totals import TOTALS, Compared, counts_of
from lab.stack.commands import LOCAL, ROOT
from lab.stack.errors import StackError
from lab.stack.local import EVERYTHING, LocalStack
from lab.stack.options import Variant
from lab.stack.servers.prometheus import RULES, SHIPPED, binary
from lab.workload.catalogue import load_catalogue
from lab.workload.expectations import DemoSet
from lab.workload.generator import generate
from lab.workload.progress import meter
from lab.workload.submission import submit
from lab.workload.wait import wait_audited, wait_finished
from ops.doctor.prometheus_api import PrometheusApi
from orders.model import NewOrder
from runtime.database import make_engine
from runtime.settings import Settings

FOLDER = LOCAL / "observe"
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
PLAIN_WIDTH = 110  # columns, where there is no terminal that has any
ORDERS = 200
SEED = 20260302
DURING_THE_OUTAGE = 10  # orders that SAP's worker meets it with
TAKEN = 5  # references that are sent once more
LOOK_SECONDS = 0.5
SETTLED_SECONDS = 30.0
# The collector counts an order when it is this old, and looks every few seconds.
DUE_SECONDS = 60.0
# Nothing moves any more: a scrape is a second away, the collector's and the relay's next looks are five.
SCRAPED_SECONDS = 20.0


def run_observe(folder: Path = FOLDER) -> int:
    """Run it, print as it goes, the JSON object last; returns the exit code. Raises OpsError."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    demo = generate(ORDERS, SEED)
    promtool = binary("promtool")
    console.print(f"Starting {EVERYTHING}", soft_wrap=True)
    with LocalStack.fresh(folder, load.ENVIRONMENT, load.SAP_OPTIONS, Variant(watched=hastened)) as stack:
        if stack.unwatched:
            raise StackError(stack.unwatched)
        observed = asyncio.run(_Run(stack, demo, console).all(promtool))
    print_report(console, observed)
    well = not failures(observed)
    if not well:
        console.print(f"The logs are in {escape(str(stack.instance.logs))}", soft_wrap=True)
    typer.echo(observed.line())
    return 0 if well else 1


class _Run:
    """One observation of one running system."""

    def __init__(self, stack: LocalStack, demo: DemoSet, console: Console) -> None:
        self._stack, self._demo, self._console = stack, demo, console
        self._begun = time.time()

    async def all(self, promtool: str) -> Observed:
        """Orders and faults, the outage, and the questions."""
        settings = Settings(database_url=self._stack.database_url, amqp_url=self._stack.amqp_url)
        engine = make_engine(settings, "lab observe")
        try:
            async with PrometheusApi.at(self._stack.prometheus_url) as prometheus:
                await targets_up(prometheus)
                shipped = alerts_of((SHIPPED / RULES).read_text())
                await rules_evaluated(prometheus)  # or what fires at rest would only not have been looked at
                self._console.print("Nothing happens for a while, and no alert may fire")
                at_rest = await firing_at_rest(prometheus)
                self._begun = time.time()
                refused, told = await self._torment(engine, prometheus)
                # Now, because it takes some seconds of a core, and the orders have only to grow older.
                (left, compared), unit_tests = await asyncio.gather(
                    self._compare(prometheus, refused), asyncio.to_thread(shown, promtool, SHIPPED / "tests")
                )
                self._tell("what the dashboards show")
                return Observed(
                    targets=await targets_up(prometheus),
                    shipped=shipped,
                    tested=unit_tests,
                    rules=await rules_evaluated(prometheus),
                    panels=await panels_seen(prometheus, read_panels(DASHBOARDS), self._begun),
                    outage=told,
                    at_rest=at_rest,
                    fired=await fired_since(prometheus, self._begun),
                    compared=compared,
                    unsettled=left,
                )
        finally:
            await engine.dispose()

    async def _torment(self, engine: AsyncEngine, prometheus: PrometheusApi) -> tuple[Counter[str], Outage]:
        """Send everything, with SAP away for a while; returns when each order has come to its end."""
        async with engine.begin() as tx:
            await load_catalogue(tx, self._demo)
        await load.without_mailbox(self._stack.mail_url, load.unreachable_customer(self._demo))
        orders = [one.order for one in self._demo.orders]
        first, last = orders[:-DURING_THE_OUTAGE], orders[-DURING_THE_OUTAGE:]
        await self._send(first)
        refused = await load.send_bad(self._stack.api_url, first[:TAKEN])
        self._tell(f"{refused.total()} bad POSTs were refused; SAP goes away")
        told = await outage(prometheus, self._stack.sap_url, lambda: self._send(last))
        with meter(self._console, "Finished", len(orders)) as show:
            await wait_finished(engine, len(orders), show, SETTLED_SECONDS)
        await wait_audited(engine)
        return refused, told

    async def _send(self, orders: Sequence[NewOrder]) -> None:
        with meter(self._console, "Accepted", len(orders)) as show:
            await submit(self._stack.api_url, orders, show)

    async def _compare(self, prometheus: PrometheusApi, refused: Counter[str]) -> tuple[int, list[Compared]]:
        """What had not settled, and the totals as soon as they are equal, or as they are after a scrape or more."""
        connection = await asyncpg.connect(self._stack.database_url)
        try:
            left = await self._settled(connection)
            until = time.monotonic() + SCRAPED_SECONDS
            while True:
                known = await truth(connection, self._stack, refused)
                compared = [
                    Compared(total, counts_of(total, await prometheus.query(total.expression)), known[total.name])
                    for total in TOTALS
                ]
                if all(one.equal for one in compared) or time.monotonic() > until:
                    return left, compared
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await connection.close()

    async def _settled(self, connection: asyncpg.Connection) -> int:
        """Deliveries that have not come to their end when none is left, or when it has taken too long."""
        self._tell("the rules' unit tests, until every delivery has ended and every order is a minute old")
        until = time.monotonic() + SETTLED_SECONDS
        while True:
            left = await unsettled(connection)
            if not left or time.monotonic() > until:
                break
            await asyncio.sleep(LOOK_SECONDS)
        await asyncio.sleep(DUE_SECONDS - await youngest_order_seconds(connection))
        return left

    def _tell(self, text: str) -> None:
        self._console.print(f"{time.time() - self._begun:6.1f} s  {text}", markup=False, soft_wrap=True)
