"""The logs of a running system, after a load with failures: lines name their request or step and hide private data."""

import asyncio
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from lab.prove.faults.message import copy
from lab.stack.commands import run_command
from lab.stack.local import LocalStack
from lab.workload.generator import generate
from lab.workload.submission import Accepted, submit
from ops.doctor import broker_client
from orders.model import Customer, NewOrder
from orders.workflow import STEPS
from outbox.envelope import Event, new_event_id
from tests.support.deadlines import ANSWER_SECONDS, wait_until
from tests.support.processes.running_system import SECRETS, query

Finished = Callable[[str], dict[str, Any]]
ORDERS = 12
FIELDS = {"order_id", "event_id", "task_id", "step", "attempt", "trace_id"}
OURS = ("api", "relay", "collector", "worker-local", "worker-sap", "worker-email", "worker-invoice")
TOO_LONG_FOR_SAP = 41  # characters of a material

FAILED_AT_SAP = "SELECT 1 FROM outbox.deliveries WHERE consumer = 'sap' AND error_class = 'ErpUnavailable'"
UNDECODABLE = "SELECT count(*) FROM outbox.dead_letters WHERE reason = 'undecodable'"
A_ROW_THAT_POSTGRES_REFUSES = """
INSERT INTO orders (id, reference, customer_name, customer_email, street, city, country, currency, net_total,
                    open_joins, leaf_steps,
                    status)
SELECT $1, 'refused', $2, $3, $4, city, country, currency, net_total, open_joins, leaf_steps,
       'nonsense' FROM orders LIMIT 1"""


@pytest.fixture(scope="module")
def customers(stack: LocalStack) -> list[Customer]:
    """The customers of the orders that went through the system, completed and failed ones."""
    demo = [replace(one.order, reference=f"LOG-{uuid4().hex[:10]}") for one in generate(ORDERS).orders]
    refused_by_mail = demo[0].customer
    refused_by_sap = asyncio.run(_order_that_sap_refuses(stack, demo[1]))
    orders = [*demo, refused_by_sap]
    _faults(stack, refused_by_mail.email, error_rate=1)
    try:
        accepted = asyncio.run(submit(stack.api_url, orders, lambda _: None))
        wait_until(lambda: bool(query(stack, FAILED_AT_SAP)), "a failed try")
        _faults(stack, refused_by_mail.email, error_rate=0)
        _have_garbage_refused(stack, refused_by_sap.customer)
        _have_a_row_refused(stack, refused_by_sap.customer)
        wait_until(lambda: _have_ended(stack, accepted), "the end of each order")
        _lose_a_child_and_stop(stack, "worker-email")
    finally:
        _faults(stack, None, error_rate=0)
        run_command(("dead-letters", "discard", "--all", "--why", "they were made for a test"), stack.environment())
    return [order.customer for order in orders]


async def _order_that_sap_refuses(stack: LocalStack, pattern: NewOrder) -> NewOrder:
    """SAP's answer quotes a material that is too long, and this one has the customer's name in it."""
    name = f"Rosalind-Quackenbush-Featherstone-{uuid4().hex[:8]}"
    sku = f"{name}-{'X' * TOO_LONG_FOR_SAP}"
    line = replace(pattern.lines[0], sku=sku)
    database = await asyncpg.connect(stack.database_url)
    try:
        await database.execute("INSERT INTO products (sku, name, sellable, available) VALUES ($1, $1, true, 9999)", sku)
        await database.execute(
            "INSERT INTO product_prices (sku, currency, unit_price) VALUES ($1, $2, $3)",
            *(sku, pattern.currency, line.unit_price),
        )
    finally:
        await database.close()
    customer = replace(pattern.customer, name=name, email=f"{uuid4().hex}@customers.example")
    return replace(pattern, reference=f"LOG-{uuid4().hex[:10]}", customer=customer, lines=(line,))


def _faults(stack: LocalStack, refused: str | None, **rates: float) -> None:
    httpx.put(f"{stack.sap_url}/sandbox/faults", json=rates, timeout=ANSWER_SECONDS).raise_for_status()
    refusals = [] if refused is None else [{"pattern": refused, "code": 550}]
    httpx.put(f"{stack.mail_url}/refusals", json=refusals, timeout=ANSWER_SECONDS).raise_for_status()


def _have_garbage_refused(stack: LocalStack, customer: Customer) -> None:
    """Texts in foreign messages are not logged either."""
    sound = Event(new_event_id(), "order.placed", str(uuid4()), "urn:test", _now(stack), b"{}")
    pieces = [
        replace(sound, data=json.dumps({"name": customer.name, "email": customer.email}).encode()),
        replace(sound, id=new_event_id(), type=f"Of {customer.name}"),
        replace(sound, id=new_event_id(), dataschema=customer.address.street),
    ]
    before = query(stack, UNDECODABLE)[0][0]
    with broker_client.connection(stack.amqp_url) as link:
        channel = link.channel()
        for step in STEPS:
            for piece in pieces:
                channel.basic_publish_confirm(copy(piece), "", step.queue)
    all_of_it = before + len(STEPS) * len(pieces)
    wait_until(lambda: query(stack, UNDECODABLE)[0][0] >= all_of_it, "a dead letter of each piece")


def _now(stack: LocalStack) -> Any:
    return query(stack, "SELECT now()")[0][0]


def _have_a_row_refused(stack: LocalStack, customer: Customer) -> None:
    """Postgres names the constraint, and would quote the row."""
    with pytest.raises(asyncpg.CheckViolationError):
        query(
            stack,
            A_ROW_THAT_POSTGRES_REFUSES,
            *(new_event_id(), customer.name, customer.email, customer.address.street),
        )


def _lose_a_child_and_stop(stack: LocalStack, worker: str) -> None:
    """A child is killed, and the worker is stopped and started again."""
    main = stack.supervisor.pid_alive(f"apps:{worker}")
    children = Path(f"/proc/{main}/task/{main}/children")
    started = _count(stack, worker, " ready.")
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
    wait_until(lambda: _count(stack, worker, "exited with") > 0, "a line about the lost child")
    os.kill(main, signal.SIGTERM)
    wait_until(lambda: _count(stack, worker, "worker_stopping") > 0, "a line about the stop")
    wait_until(lambda: _count(stack, worker, " ready.") > started, "the worker's next life")


def _count(stack: LocalStack, program: str, event: str) -> int:
    return sum(event in line["event"] for line in _lines(stack, (program,)))


def _have_ended(stack: LocalStack, accepted: list[Accepted]) -> bool:
    """Each order is completed, rejected, or needs an operator's attention."""
    pages = (httpx.get(stack.api_url + one.location, timeout=ANSWER_SECONDS).json() for one in accepted)
    return all(page["status"] in {"completed", "rejected"} or page["needs_attention"] for page in pages)


def _files(stack: LocalStack) -> list[Path]:
    return [path for path in stack.instance.folder.rglob("*.log*") if path.is_file()]


def _lines(stack: LocalStack, programs: tuple[str, ...] = OURS) -> Iterator[dict[str, Any]]:
    for program in programs:
        for line in (stack.instance.logs / f"{program}.log").read_text().splitlines():
            yield json.loads(line)


def test_no_customer_is_named_in_any_log(stack: LocalStack, customers: list[Customer]) -> None:
    private = {text for customer in customers for text in customer.private}
    private |= {customer.email.partition("@")[0] for customer in customers}
    assert len(private) > len(customers) > 0
    assert {f"{program}.log" for program in OURS} <= {path.name for path in _files(stack)}
    for path in _files(stack):
        # As it stands there, and without JSON's own spelling of characters beyond ASCII.
        text = path.read_text(errors="replace")
        text += re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), text)
        assert [word for word in private if word in text] == [], path.name


def test_no_password_or_key_is_in_any_log(stack: LocalStack, customers: list[Customer]) -> None:
    keys = {re.split(r"/|%20", secret)[-1] for secret in SECRETS.values()}
    keys |= {urlsplit(url).password for url in (stack.database_url, stack.amqp_url)}
    keys |= {json.loads((stack.instance.folder / "supervisord.json").read_text())["password"]}
    keys |= {path.read_text() for path in stack.instance.folder.rglob(".erlang.cookie")}
    assert len(keys) >= 3 + len(SECRETS)
    for path in _files(stack):
        text = path.read_text(errors="replace")
        assert [key for key in keys if key and key in text] == [], path.name


def test_each_line_of_a_request_or_step_says_which(stack: LocalStack, customers: list[Customer]) -> None:
    about_work = [line for line in _lines(stack) if FIELDS & line.keys()]
    reported = {line["event"] for line in about_work}
    assert {
        "order_accepted",
        "step_ended",
        "step_failed",
        "step_dead_lettered",
        "message_refused",
        "event_refused",
    } <= reported
    assert [line for line in about_work if not line.keys() >= FIELDS] == []
    for line in about_work:
        if line["event"] in {"step_ended", "step_failed", "step_dead_lettered"}:
            assert line["task_id"]
            assert line["event_id"]
            assert line["attempt"] is None or line["attempt"] >= 1
        if line["event"] in {"step_failed", "step_dead_lettered"} or line.get("outcome") in {"done", "retried"}:
            assert line["attempt"] >= 1
        if line["event"] in {"order_accepted", "step_failed"}:
            assert line["trace_id"] == UUID(line["order_id"]).hex


def test_a_delivery_is_logged_once_and_celery_adds_nothing(stack: LocalStack, customers: list[Customer]) -> None:
    ended = [line for line in _lines(stack) if line["event"] == "step_ended"]
    assert {line["outcome"] for line in ended} >= {"done", "retried", "dead"}
    assert all(line["duration_ms"] >= 0 for line in ended)
    assert [line for line in _lines(stack) if "Task " in line["event"]] == []
