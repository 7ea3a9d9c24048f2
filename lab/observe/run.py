"""`lab observe`: a fresh system with Prometheus on a shortened clock, orders and faults, then the checks.

The trial checks that every target is up, that the shipped alert rules are loaded and sound, that each panel shows data,
that an outage of SAP fires its alert and its end resolves it, and that the totals in Prometheus are those in the tables
and the sandboxes. The last line is one JSON object; exit code 0 means that all of this holds.
"""

import asyncio
import time
from collections import Counter
from pathlib import Path

import asyncpg

from lab import trial
from lab.observe import load
from lab.observe.expected_totals import expected_totals, unsettled, youngest_order_seconds
from lab.observe.figures import Observed, failures
from lab.observe.outage import Outage, outage
from lab.observe.panels import read_panels
from lab.observe.prometheus_checks import check_panels, fired_since, firing_at_rest, rules_evaluated, targets_up
from lab.observe.report import print_report
from lab.observe.rule_tests import passing_unit_tests
from lab.observe.rules import alerts_of
from lab.observe.time_scaling import scaled_file
from lab.observe.totals import TOTALS, ComparedTotal, counts_of
from lab.stack.commands import LOCAL, ROOT
from lab.stack.options import StackOptions
from lab.stack.servers.prometheus import RULES, SHIPPED, binary
from lab.trial import Setup, Trial
from lab.workload.generator import generate
from ops.doctor.prometheus_api import PrometheusApi

FOLDER = LOCAL / "observe"
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
ORDERS = 200
SEED = 20260302
DURING_THE_OUTAGE = 10  # orders that are sent while SAP is away
RESENT = 5  # accepted references that are sent once more
POLL_SECONDS = 0.5
SETTLED_SECONDS = 30.0
# The collector counts an order when it is this old, and refreshes its gauges every few seconds.
DUE_SECONDS = 60.0
# After the last change: one scrape takes a second, the collector and the relay refresh their gauges every five.
SCRAPED_SECONDS = 20.0


def run_observe(folder: Path = FOLDER) -> int:
    """Run it, print as it goes, the JSON object last; returns the exit code. Raises OpsError."""
    setup = Setup(
        "observe",
        generate(ORDERS, SEED),
        trial.SHORT_WAITS,
        load.SAP_OPTIONS,
        StackOptions(adapt_rules=scaled_file),
        folder,
        needs_prometheus=True,
    )
    console = trial.console()
    promtool = binary("promtool")
    observed = trial.run(setup, console, lambda running: _Observation(running).run(promtool))
    print_report(console, observed)
    return trial.conclude(setup, console, observed.line(), passed=not failures(observed))


class _Observation:
    """One observation of one running system."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._stack = trial.stack
        self._started = time.time()  # of the faults: alerts that fire later may be theirs

    async def run(self, promtool: str) -> Observed:
        """Orders and faults, the outage, and the checks."""
        async with PrometheusApi.at(self._stack.prometheus_url) as prometheus:
            await targets_up(prometheus)
            shipped = alerts_of((SHIPPED / RULES).read_text())
            await rules_evaluated(prometheus)  # before that, an alert that would fire at rest is not yet known
            self._trial.console.print("Nothing happens for a while, and no alert may fire")
            at_rest = await firing_at_rest(prometheus)
            self._started = time.time()
            self._trial.restart_clock()
            refused, outage_seen = await self._send_with_faults(prometheus)
            # At this moment because promtool takes some seconds of a core, and the orders have to grow older anyway.
            (left, compared), unit_tests = await asyncio.gather(
                self._compare(prometheus, refused), asyncio.to_thread(passing_unit_tests, promtool, SHIPPED / "tests")
            )
            self._trial.say("checking the panels of the dashboards")
            return Observed(
                targets=await targets_up(prometheus),
                shipped=shipped,
                tested=unit_tests,
                rules=await rules_evaluated(prometheus),
                panels=await check_panels(prometheus, read_panels(DASHBOARDS), self._started),
                outage=outage_seen,
                at_rest=at_rest,
                fired=await fired_since(prometheus, self._started),
                compared=compared,
                unsettled=left,
            )

    async def _send_with_faults(self, prometheus: PrometheusApi) -> tuple[Counter[str], Outage]:
        """Send everything, with SAP away for a while; returns when each order is finished or stuck."""
        workload = self._trial.workload
        await load.remove_mailbox(self._stack.mail_url, load.unreachable_customer(workload))
        orders = [one.order for one in workload.orders]
        first, last = orders[:-DURING_THE_OUTAGE], orders[-DURING_THE_OUTAGE:]
        await self._trial.send(first)
        refused = await load.send_invalid(self._stack.api_url, first[:RESENT])
        self._trial.say(f"{refused.total()} invalid POSTs were refused; SAP goes away")
        outage_seen = await outage(prometheus, self._stack.sap_url, lambda: self._trial.send(last))
        await self._trial.wait_finished(len(orders), SETTLED_SECONDS)
        return refused, outage_seen

    async def _compare(self, prometheus: PrometheusApi, refused: Counter[str]) -> tuple[int, list[ComparedTotal]]:
        """Unsettled deliveries, and the totals: as soon as they are equal, or as they are some scrapes later."""
        connection = await asyncpg.connect(self._stack.database_url)
        try:
            left = await self._settled(connection)
            until = time.monotonic() + SCRAPED_SECONDS
            while True:
                expected = await expected_totals(connection, self._stack, refused)
                compared = [
                    ComparedTotal(
                        total, counts_of(total, await prometheus.query(total.expression)), expected[total.name]
                    )
                    for total in TOTALS
                ]
                if all(one.equal for one in compared) or time.monotonic() > until:
                    return left, compared
                await asyncio.sleep(POLL_SECONDS)
        finally:
            await connection.close()

    async def _settled(self, connection: asyncpg.Connection) -> int:
        """Wait, within bounds, until deliveries are settled and orders a minute old; returns how many are unsettled."""
        self._trial.say("running the rules' unit tests, until every delivery has ended and every order is a minute old")
        until = time.monotonic() + SETTLED_SECONDS
        while True:
            left = await unsettled(connection)
            if not left or time.monotonic() > until:
                break
            await asyncio.sleep(POLL_SECONDS)
        await asyncio.sleep(DUE_SECONDS - await youngest_order_seconds(connection))
        return left
