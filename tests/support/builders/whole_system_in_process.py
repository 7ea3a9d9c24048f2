"""The whole system in one process, so that one exporter sees every span. Outside are Postgres, RabbitMQ, SAP and SMTP.

The API answers without a socket, the relay and the collector are the product's own, and deliveries are taken from the
broker and handed to the product's code one after another, in Celery's place.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import amqp
from sqlalchemy import text

from consumers.collector.sweep import Collector
from consumers.delivery.context import WorkerContext, open_context
from consumers.delivery.pipeline import StepRunner
from consumers.delivery.result import DeliveryResult
from consumers.steps.load import step_class
from consumers.worker.cloud_event_task import adapt
from consumers.worker.delivery_task import run_delivery
from ops.doctor.broker_client import connection
from orders.workflow import STEPS, Step
from outbox.envelope import decode
from relay.__main__ import Relay
from runtime.settings import Settings
from tests.support.builders.dead_letters import DeadLetterDatabase
from tests.support.builders.in_process_api import Api, running_api
from tests.support.deadlines import ANSWER_SECONDS

_PRODUCT = "INSERT INTO products (sku, name, sellable, available) VALUES (:sku, :sku, true, 1000)"
_PRICE = "INSERT INTO product_prices (sku, currency, unit_price) VALUES (:sku, :currency, :price)"


@dataclass(frozen=True)
class WholeSystem:
    """All of it, running."""

    api: Api
    ctx: WorkerContext
    channel: amqp.Channel
    runners: Mapping[str, StepRunner]
    ended: list[tuple[str, DeliveryResult]] = field(default_factory=list)  # deliveries by queue, in order

    @property
    def database(self) -> DeadLetterDatabase:
        """The dead letters, to be replayed as by an operator."""
        return DeadLetterDatabase(self.ctx.engine)

    async def sells(self, order: Mapping[str, Any]) -> None:
        """Put an order's products into the catalogue."""
        async with self.ctx.engine.begin() as tx:
            for line in order["lines"]:
                price = {"sku": line["sku"], "currency": order["currency"], "price": Decimal(line["unit_price"])}
                await tx.execute(text(_PRODUCT), {"sku": line["sku"]})
                await tx.execute(text(_PRICE), price)

    async def work_until(self, reached: Callable[[], Any]) -> None:
        """Run deliveries as they come, one after another, until something is so; asked between two of them."""
        async with asyncio.timeout(ANSWER_SECONDS):
            while not await reached():
                if not await self._deliver_one():
                    await asyncio.sleep(0.02)  # the poll's pace; the wait ends with `reached`

    async def status(self, order_id: str) -> str:
        """The status of an order."""
        (row,) = await self.database.sql("SELECT status FROM orders WHERE id = CAST(:id AS uuid)", id=order_id)
        return str(row["status"])

    async def _deliver_one(self) -> bool:
        """Deliver the oldest message of the first queue that holds one; returns whether there was any."""
        for step in STEPS:
            message = self.channel.basic_get(step.queue)
            if message is not None:
                await self._deliver(step, message)
                return True
        return False

    async def _deliver(self, step: Step, message: amqp.Message) -> None:
        task = SimpleNamespace(headers=message.headers, body=message.body, delivery_info=message.delivery_info)
        adapt(task, step.queue)
        (attributes, body, redelivered), _, _ = json.loads(task.body)
        event = decode(attributes, body.encode())
        outcome = await run_delivery(self.runners[step.name], event, attributes, redelivered=redelivered)
        self.ended.append((step.queue, outcome))
        tag = message.delivery_info["delivery_tag"]
        if outcome is DeliveryResult.DEAD:
            self.channel.basic_reject(tag, requeue=False)
        else:
            self.channel.basic_ack(tag)


@asynccontextmanager
async def whole_system(settings: Settings) -> AsyncIterator[WholeSystem]:
    """The system on these servers, whose topology is applied."""
    ctx = open_context(settings, "waybill-test")
    relay = Relay(settings)
    stopping = asyncio.Event()
    with connection(settings.amqp_url) as link:
        async with running_api(settings.database_url, settings.documents_dir) as api, asyncio.TaskGroup() as beside:
            beside.create_task(relay.run())
            beside.create_task(Collector(settings, ctx.engine, stopping).run())
            runners = {step.name: StepRunner(step, step_class(step).open(settings), ctx) for step in STEPS}
            try:
                yield WholeSystem(api, ctx, link.channel(), runners)
            finally:
                relay.stop()
                stopping.set()
    for runner in runners.values():
        await runner.close()
    await ctx.close()
