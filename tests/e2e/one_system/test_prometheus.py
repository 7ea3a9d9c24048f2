"""Prometheus in the running system: it scrapes every program and has the rules; status and doctor report it."""

import asyncio
import re
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import httpx
import pytest

from lab.stack import terminal
from lab.stack.local import LocalStack
from lab.stack.servers import prometheus
from ops.doctor.checks import run_checks
from ops.doctor.finding import Verdict
from ops.doctor.prometheus_api import PrometheusApi, Rule, Sample, Target
from orders.workflow import POOLS
from runtime.settings import Settings
from tests.support.deadlines import ANSWER_SECONDS

T = TypeVar("T")
SCRAPED_SECONDS = 60  # its interval is 15 s


def ask(stack: LocalStack, question: Callable[[PrometheusApi], Coroutine[Any, Any, T]]) -> T:
    async def asked() -> T:
        async with PrometheusApi.at(stack.prometheus_url) as api:
            return await question(api)

    return asyncio.run(asked())


def asked_until(seen: Callable[[T], bool], question: Callable[[], T]) -> T:
    """The first answer that is wanted, or the last of all."""
    deadline = time.monotonic() + SCRAPED_SECONDS
    while not seen(answer := question()) and time.monotonic() < deadline:
        time.sleep(0.2)  # the poll's pace; the wait ends with the answer
    return answer


def test_every_target_is_up(stack: LocalStack) -> None:
    targets: list[Target] = asked_until(
        lambda found: bool(found) and all(target.health == "up" for target in found),
        lambda: ask(stack, PrometheusApi.targets),
    )

    assert {target.health for target in targets} == {"up"}, targets
    assert sorted(target.job for target in targets) == sorted(
        ["api", "relay", "collector", "rabbitmq", "prometheus", *("worker" for _ in POOLS)]
    )


def test_each_queue_of_the_broker_has_series_under_its_name(stack: LocalStack) -> None:
    async def consumers(api: PrometheusApi) -> list[Sample]:
        return await api.query('rabbitmq_queue_consumers{job="rabbitmq",queue=~"validation|sap|email"}')

    queues: list[Sample] = asked_until(lambda found: len(found) == 3, lambda: ask(stack, consumers))

    assert {sample.labels["queue"] for sample in queues} == {"validation", "sap", "email"}


def test_the_shipped_rules_are_loaded(stack: LocalStack) -> None:
    rules: list[Rule] = asked_until(
        lambda found: bool(found) and all(rule.health != "unknown" for rule in found),
        lambda: ask(stack, PrometheusApi.rules),
    )

    assert {rule.alerts for rule in rules} == {True, False}
    assert {rule.health for rule in rules} == {"ok"}, rules


def test_the_system_of_a_test_sends_no_alerts_even_if_the_shipped_file_names_an_alertmanager(stack: LocalStack) -> None:
    used = stack.instance.folder / "prometheus" / prometheus.ALERTMANAGERS

    assert used.read_text() == prometheus.NO_ALERTMANAGERS
    assert used.read_text() != (prometheus.SHIPPED / prometheus.ALERTMANAGERS).read_text()


def test_status_and_doctor_know_of_it(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "UP", stack.instance.folder)
    monkeypatch.setattr(terminal.console, "width", 200)
    assert terminal.status() == 0
    printed = capsys.readouterr().out
    assert stack.prometheus_url in printed
    (page,) = re.findall(r"Firing alerts: (\S+)", printed)
    assert httpx.get(page, timeout=ANSWER_SECONDS).status_code == 200

    settings = Settings(database_url=stack.database_url, amqp_url=stack.amqp_url)
    findings = {one.subject: one for one in asyncio.run(run_checks(settings, stack.prometheus_url))}

    assert findings["Prometheus"].verdict is Verdict.GOOD
